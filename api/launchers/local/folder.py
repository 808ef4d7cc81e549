"""What the local launcher keeps of one job: a folder, so that it survives the API process.

A runner holds `lock` from its first to its last moment, whoever its parent is now. So the lock, and never a
process id, tells whether it lives.
"""

import fcntl
import os
import shutil
import signal
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import structlog

from contract.job import JobSpec
from contract.progress import Progress
from contract.record import Record

log = structlog.get_logger(__name__)

Stored = TypeVar("Stored", bound=Record)


TERM_SECONDS = 30.0
"""So long a runner of a deleted job may take to end, as in a cluster (terminationGracePeriodSeconds)."""


class State(StrEnum):
    """Where a job stands: waiting for its turn, with a living runner, or with one that ended."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Order(Record):
    """`order.json`: what to run and since when it waits (nanoseconds since 1970)."""

    spec: JobSpec
    queued_at: int


class JobFolder:
    """`order.json` makes the folder a job; `started` appears once its runner has been started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.job_id = path.name

    @property
    def status_file(self) -> Path:
        """Where the runner reports."""
        return self.path / "status.json"

    @property
    def work(self) -> Path:
        """Where the runner keeps its temporary files."""
        return self.path / "work"

    @property
    def log(self) -> Path:
        """What the runner prints."""
        return self.path / "runner.log"

    def enqueue(self, order: Order) -> None:
        """Makes the folder a job. The order appears whole or not at all; a second one changes nothing."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self.order() is None:
            temporary = self.path / f".order-{order.queued_at}"
            temporary.write_bytes(order.to_json())
            temporary.replace(self.path / "order.json")

    def order(self) -> Order | None:
        """The order; None when the folder is not a job, or one that this version does not understand."""
        return None if self.is_deleted() else self._read("order.json", Order)

    def state(self) -> State:
        """Where the job stands now."""
        started = (self.path / "started").exists()  # before the lock: a runner may begin in between
        if self._locked():
            return State.RUNNING
        return State.ENDED if started else State.QUEUED

    def progress(self) -> Progress | None:
        """The runner's latest report; None before the first."""
        return self._read(self.status_file.name, Progress)

    def ended_at(self) -> datetime:
        """When the runner last gave a sign of life."""
        newest = max(
            (path.stat().st_mtime for path in (self.status_file, self.path / "started") if path.exists()),
            default=0.0,
        )
        return datetime.fromtimestamp(newest, UTC)

    def take_lock(self) -> int:
        """A descriptor that holds the job's lock; whoever inherits it holds it too."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def mark_started(self, pid: int) -> None:
        """Notes that a runner has been started, and its process id for people who look."""
        (self.path / "started").write_text(f"{pid}\n")

    def mark_deleted(self) -> None:
        """The folder is no job any more; it goes when its runner, which is to end, has ended."""
        (self.path / "deleted").touch()

    def is_deleted(self) -> bool:
        """Whether only the end of a runner is waited for."""
        return (self.path / "deleted").exists()

    def end_runner(self) -> None:
        """SIGTERM to a living runner, which heeds the first one; SIGKILL when it takes too long."""
        try:
            pid = int((self.path / "started").read_text())
            late = time.time() - (self.path / "deleted").stat().st_mtime > TERM_SECONDS
            if self._locked():  # so the process id is still its own
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            pass  # it is just being started, or has just ended: the next look tells

    def remove_work(self) -> None:
        """Deletes the runner's temporary files."""
        shutil.rmtree(self.work, ignore_errors=True)

    def remove(self) -> None:
        """Deletes the folder; the order goes first, so that half a folder is not a job."""
        (self.path / "order.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def last_words(self) -> str:
        """The end of what the runner printed, at most 2,000 characters."""
        try:
            return self.log.read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return ""

    def _read(self, name: str, kind: type[Stored]) -> Stored | None:
        try:
            return kind.model_validate_json((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            log.warning("unreadable_file", path=str(self.path / name))
            return None

    def _locked(self) -> bool:
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:  # shared, so that two who look at once do not take each other for a runner
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
