"""What a launcher promises: it starts runners and says how they fare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contract.failures import Failure
from contract.job import JobSpec
from contract.manifest import Waiting
from contract.progress import Progress


@dataclass(frozen=True)
class Observation:
    """How a job fares, as its launcher sees it.

    `finished`: no runner works on it and none will, whether it went well or not. `failure` says why an
    unfinished song will stay so, `waiting` why its runner has not begun, `ended_at` when the runner ended.
    """

    finished: bool
    progress: Progress | None = None
    failure: Failure | None = None
    waiting: Waiting | None = None
    ended_at: datetime | None = None


class LauncherUnavailable(Exception):  # noqa: N818
    """What starts runners does not answer; the message is a sentence. What was asked may have been done."""


class LaunchRefused(Exception):  # noqa: N818
    """No runner will be started for this job; the message is a sentence."""


class QuotaExceeded(LaunchRefused):
    """There are as many jobs as the operator allows."""


class Launcher(Protocol):
    """Starts runners and says how they fare. What it knows survives the API process."""

    def launch(self, spec: JobSpec) -> None:
        """Sees to it that a runner works on the job; again with the same id: no second one.

        Raises:
            LaunchRefused: it will not be.
            LauncherUnavailable: perhaps it will; launching again is right.
        """

    def observe(self, job_id: str) -> Observation | None:
        """How the job fares; None when the launcher knows nothing of it (any more).

        Raises LauncherUnavailable, as do the others that follow.
        """

    def observe_all(self, job_ids: Sequence[str], *, exact: bool = False) -> Mapping[str, Observation]:
        """The same of many jobs, much faster than one by one; what is not known is left out.

        They are seen as they were a moment ago. With `exact`, as `observe` sees one: as they are, and what
        will soon be forgotten is written down; that takes its time.
        """

    def finished(self) -> Iterable[str]:
        """Ids of the jobs that are finished and not forgotten."""

    def forget(self, job_id: str) -> None:
        """Drops what is kept of a finished job. Of an unknown job: nothing happens."""

    def delete(self, job_id: str) -> None:
        """Drops a job whatever its state, and knows nothing of it any more. Of an unknown job: nothing.

        A runner that works on it gets SIGTERM, and SIGKILL if it has not ended half a minute later.
        """

    def close(self) -> None:
        """Stops watching. Runners go on."""
