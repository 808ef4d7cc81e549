"""The embedded default's CronJob."""

import threading

import structlog

from api.sweep.duties import Sweep
from contract import clock

log = structlog.get_logger(__name__)


class SweepThread:
    """Sweeps at once and then every `seconds`, until closed."""

    def __init__(self, sweep: Sweep, seconds: float) -> None:
        self._closed = threading.Event()
        self._sweep, self._seconds = sweep, seconds
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._sweep.run(clock.now(), stopped=self._closed.is_set)
            except Exception:
                log.exception("sweep_failed")  # the next one may go better
            self._closed.wait(self._seconds)

    def close(self) -> None:
        """Ends the thread, and soon the pass that may be under way."""
        self._closed.set()
        self._thread.join()
