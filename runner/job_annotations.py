"""What a report looks like on a Kubernetes Job, and which attempt may write it. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from contract.progress import Progress
from contract.stages import StageRecord, standing

PREFIX = "stemjob.dev/"
ATTEMPT = f"{PREFIX}attempt"
PROGRESS = f"{PREFIX}progress"
STAGE_LABEL = f"{PREFIX}stage"

_ERROR_CHARACTERS = 500
"""The admission policy allows a record 4096 characters."""


@dataclass(frozen=True)
class JobMetadata:
    """What the API server answers: the part of a Job that a report is about."""

    resource_version: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """From the JSON of a Job."""
        metadata = answer["metadata"]
        return cls(
            metadata["resourceVersion"], metadata.get("annotations") or {}, metadata.get("labels") or {}
        )


@dataclass(frozen=True)
class AttemptId:
    """Which attempt reports: its number, from 1, and the UID of its pod. Number 0: none yet."""

    number: int
    pod_uid: str

    @classmethod
    def of(cls, job: JobMetadata) -> Self:
        """The attempt that reported last."""
        number, _, pod_uid = job.annotations.get(ATTEMPT, "").partition(" ")
        return cls(int(number), pod_uid) if number.isdecimal() else cls(0, "")

    def __str__(self) -> str:
        return f"{self.number} {self.pod_uid}"


def next_attempt(last: AttemptId, pod_uid: str) -> AttemptId:
    """Who a pod is that has not heard yet of having a number."""
    claimed_by_a_request_without_an_answer = last.pod_uid == pod_uid
    return last if claimed_by_a_request_without_an_answer else AttemptId(last.number + 1, pod_uid)


def is_overtaken(mine: AttemptId, last: AttemptId) -> bool:
    """Whether another attempt has taken over since `mine` was written."""
    return last.number > mine.number or (last.number == mine.number and last.pod_uid != mine.pod_uid)


def change_of(seen: JobMetadata, progress: Progress, attempt: AttemptId) -> dict[str, Any]:
    """The metadata to patch so that a Job says this; it only works on the Job as it was seen.

    Empty when the Job says so already.
    """
    annotations = _differing(seen.annotations, annotations_of(progress, attempt))
    labels = _differing(seen.labels, {STAGE_LABEL: standing(progress.stages).value})
    changes = {"annotations": annotations, "labels": labels} if annotations or labels else {}
    return {"resourceVersion": seen.resource_version, **changes} if changes else {}


def annotations_of(progress: Progress, attempt: AttemptId) -> dict[str, str]:
    """The six annotations: each stage's whole record, how far the whole job is (0 to 1), who says so."""
    return {
        **{f"{PREFIX}{stage.name}": _shortened(stage).to_json().decode() for stage in progress.stages},
        PROGRESS: f"{progress.progress:.3f}",
        ATTEMPT: str(attempt),
    }


def _differing(there: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if there.get(key) != value}


def _shortened(stage: StageRecord) -> StageRecord:
    if stage.error is None or len(stage.error) <= _ERROR_CHARACTERS:
        return stage
    return stage.model_copy(update={"error": f"{stage.error[: _ERROR_CHARACTERS - 1]}…"})
