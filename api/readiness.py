"""Whether the API can do its work now: whether its store and its launcher answer."""

import threading
import time

from api.launchers import Launcher, LauncherUnavailable
from contract.stores import Store, StoreError

_REMEMBERED_SECONDS = 3.0
_NOBODY = "00000000-0000-4000-8000-000000000000"
"""An id that no job has."""


class Readiness:
    """Asks both, one caller at a time and at most once in a few seconds; the others hear the last outcome."""

    def __init__(self, store: Store, launcher: Launcher) -> None:
        self._store, self._launcher = store, launcher
        self._asking = threading.Lock()
        self._asked_until = 0.0
        self._problem: StoreError | LauncherUnavailable | None = StoreError("Nobody has asked the store yet.")

    def check(self) -> None:
        """Returns when both answer. Raises StoreError, LauncherUnavailable: what it was that did not."""
        if self._asking.acquire(blocking=False):
            try:
                if time.monotonic() >= self._asked_until:
                    self._problem = self._ask()
                    self._asked_until = time.monotonic() + _REMEMBERED_SECONDS
            finally:
                self._asking.release()
        if self._problem is not None:
            raise self._problem

    def _ask(self) -> StoreError | LauncherUnavailable | None:
        try:
            self._store.stat("ready")  # need not be there
            self._launcher.observe(_NOBODY)
        except (StoreError, LauncherUnavailable) as problem:
            return problem
        return None
