"""Everything that can go wrong with a job, as stable codes (README, "When something goes wrong")."""

from dataclasses import dataclass
from enum import StrEnum

from contract.record import Record


class FailureCode(StrEnum):
    """Why a job failed or waits. Programs read these words, so they never change."""

    # said by the runner
    INVALID_AUDIO = "invalid_audio"
    UNSUPPORTED_MODEL = "unsupported_model"
    DURATION_EXCEEDED = "duration_exceeded"
    WEIGHTS_UNAVAILABLE = "weights_unavailable"
    WEIGHTS_CORRUPT = "weights_corrupt"
    DISK_FULL = "disk_full"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    RUNNER_ERROR = "runner_error"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    # said by whoever looks at what is left of a runner
    LOST = "lost"
    OOM_KILLED = "oom_killed"
    EVICTED = "evicted"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    POD_REJECTED = "pod_rejected"
    # why a runner has not begun; at the deadline, why the job failed
    IMAGE_PULL = "image_pull"
    UNSCHEDULABLE = "unschedulable"
    POD_FORBIDDEN = "pod_forbidden"
    SUSPENDED = "suspended"
    RETRYING = "retrying"


@dataclass(frozen=True)
class Exit:
    """How a runner that met a failure leaves: its exit code, and whether another attempt may help."""

    code: int
    retryable: bool


EXITS: dict[FailureCode, Exit] = {
    FailureCode.INVALID_AUDIO: Exit(65, retryable=False),
    FailureCode.UNSUPPORTED_MODEL: Exit(65, retryable=False),
    FailureCode.DURATION_EXCEEDED: Exit(65, retryable=False),
    FailureCode.WEIGHTS_UNAVAILABLE: Exit(78, retryable=False),
    FailureCode.WEIGHTS_CORRUPT: Exit(78, retryable=False),
    FailureCode.DISK_FULL: Exit(75, retryable=True),
    FailureCode.STORAGE_UNAVAILABLE: Exit(75, retryable=True),
    FailureCode.RUNNER_ERROR: Exit(75, retryable=True),
    FailureCode.OUT_OF_MEMORY: Exit(71, retryable=False),
    FailureCode.CANCELLED: Exit(143, retryable=True),
}
"""Exit code of each failure that a runner itself can report (sysexits.h words where they fit)."""


class Failure(Record):
    """A failure as it is recorded: the code for programs, one sentence for people."""

    code: FailureCode
    error: str


class JobFailed(Exception):  # noqa: N818 - it reads as what happened: raise JobFailed(...)
    """Ends a run with a failure that is known by name. Anything else that escapes is `runner_error`."""

    def __init__(self, code: FailureCode, error: str) -> None:
        super().__init__(error)
        self.failure = Failure(code=code, error=error)
