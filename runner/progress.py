"""What a runner says while it works: the records of the stages, written where the launcher reads them."""

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from contract.clock import now
from contract.failures import Failure
from contract.progress import Progress
from contract.stages import StageName, Stages, begin, complete, fail, first_unfinished

log = structlog.get_logger(__name__)

FILE_INTERVAL_SECONDS = 0.5


class Reporter(Protocol):
    """Where progress is written. `interval` is the shortest time between two reports in seconds."""

    interval: float

    @property
    def attempt(self) -> str:
        """Which attempt at the job this is, as `Progress` and manifest name it; empty when not known yet."""

    def write(self, progress: Progress) -> None:
        """Replaces the last report. May raise anything."""

    def overtaken(self) -> bool:
        """Whether a later attempt is at work, as far as can be found out soon. May raise anything."""

    def close(self) -> None:
        """Sees the last report off, for some seconds at most. Nothing is written afterwards."""


class LogReporter:
    """Reports to the log only."""

    interval = 10.0
    attempt = "1"

    def write(self, progress: Progress) -> None:
        stages = {stage.name.value: stage.status.value for stage in progress.stages}
        log.info("progress", progress=round(progress.progress, 4), **stages)

    def overtaken(self) -> bool:
        return False

    def close(self) -> None:
        pass


class FileReporter:
    """Reports into a file that is always whole: written beside it and moved into its place."""

    interval = FILE_INTERVAL_SECONDS

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = self._last_number() + 1

    @property
    def attempt(self) -> str:
        return str(self._number)

    def write(self, progress: Progress) -> None:
        temporary = self._path.with_name(f"{self._path.name}.new")
        temporary.write_bytes(progress.to_json())
        os.replace(temporary, self._path)  # noqa: PTH105 - says what matters: it is atomic

    def overtaken(self) -> bool:
        return self._last_number() > self._number

    def close(self) -> None:
        pass

    def _last_number(self) -> int:
        """The attempt that reported last; 0 when there was none."""
        try:
            attempt = Progress.model_validate_json(self._path.read_bytes()).attempt
        except (OSError, ValueError):
            return 0
        return int(attempt) if attempt.isdecimal() else 0


def open_reporter(url: str) -> Reporter:
    """The reporter of `JobSpec.report`: a file's, a Kubernetes Job's, or for an empty URL the log's.

    Raises:
        ValueError: the URL cannot be understood.
    """
    if not url:
        return LogReporter()
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            return FileReporter(Path(parts.netloc + parts.path))
        case "kubernetes":
            from runner.annotations import KubernetesReporter

            return KubernetesReporter(url)
    raise ValueError(f"progress can be reported to file:// and kubernetes://, not to {url!r}")


class ProgressReport:
    """The one report of this attempt. Safe to use from several threads.

    A change of a stage is written at once, mere advance at the reporter's interval. A report that cannot be
    written is a line in the log and nothing more: it never fails the song.
    """

    def __init__(
        self,
        reporter: Reporter,
        clock: Callable[[], datetime] = now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter, self._clock, self._timer = reporter, clock, timer
        self._lock = threading.Lock()
        self._written_at = -float("inf")
        self._progress = Progress()
        self._overtaken = False

    @property
    def progress(self) -> Progress:
        """The report as it stands."""
        return self._progress.model_copy(update={"attempt": self._reporter.attempt})

    def start(self) -> None:
        """Replaces what an earlier attempt has left."""
        with self._lock:
            self._write()

    def begin(self, stage: StageName) -> None:
        """A stage begins; does nothing when it has begun already."""
        with self._lock:
            stages = begin(self._progress.stages, stage, self._clock())
            if stages != self._progress.stages:
                self._change(stages)

    def complete(self, stage: StageName) -> None:
        """A stage ends well."""
        with self._lock:
            self._change(complete(self._progress.stages, stage, self._clock()))

    def advance(self, fraction: float) -> None:
        """The whole job is this far, 0 to 1. Never goes back."""
        with self._lock:
            fraction = min(1.0, max(self._progress.progress, fraction))
            self._progress = self._progress.model_copy(update={"progress": fraction})
            if self._timer() - self._written_at >= self._reporter.interval:
                self._write()

    def fail(self, failure: Failure) -> None:
        """The attempt ends with a failure, which is the first unfinished stage's."""
        with self._lock:
            stages = self._progress.stages
            stages = fail(stages, first_unfinished(stages), self._clock(), failure.error)
            self._progress = self._progress.model_copy(update={"failure": failure})
            self._change(stages)

    def overtaken(self) -> bool:
        """Whether a later attempt is known to work on the job; from then on this one reports nothing."""
        try:
            self._overtaken = self._overtaken or self._reporter.overtaken()
        except Exception:
            log.warning("attempts_not_known", exc_info=True)
        return self._overtaken

    def close(self) -> None:
        """Sees the last report off, for some seconds at most."""
        self._reporter.close()

    def _change(self, stages: Stages) -> None:
        self._progress = self._progress.model_copy(update={"stages": stages})
        self._write()

    def _write(self) -> None:
        if self._overtaken:
            return
        self._written_at = self._timer()
        try:
            self._reporter.write(self.progress)
        except Exception:
            log.warning("progress_not_reported", exc_info=True)
