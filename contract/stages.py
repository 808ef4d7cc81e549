"""The four stages of a job, and the only moves that their records can make."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import computed_field, model_validator

from contract.clock import Timestamp
from contract.record import Record


class StageName(StrEnum):
    """The stages, in the order in which they run."""

    SEPARATION = "audio_separation"
    HPSS = "harmonic_percussive_separation"
    COMPOSITE = "composite_track_creation"
    NORMALIZATION = "normalization"


class Status(StrEnum):
    """Of a stage; a job has the same words but `pending`."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


PROCESSOR_TYPES: dict[StageName, str] = {
    StageName.SEPARATION: "separator",
    StageName.HPSS: "decomposition",
    StageName.COMPOSITE: "composition",
    StageName.NORMALIZATION: "audio_processing",
}


class StageRecord(Record):
    """One stage of one job, as every answer shows it."""

    name: StageName
    processor_type: str
    status: Status = Status.PENDING
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    error: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def duration_seconds(self) -> float | None:
        """Difference of the two times in seconds; null until both are there."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at).total_seconds()

    @model_validator(mode="before")
    @classmethod
    def _accept_own_json(cls, stored: Any) -> Any:
        """A record's JSON also holds the computed duration; reading it back computes it anew."""
        if isinstance(stored, dict):
            return {key: value for key, value in stored.items() if key != "duration_seconds"}
        return stored


Stages = tuple[StageRecord, ...]


def pending_stages() -> Stages:
    """All four stages of a job whose runner has not begun."""
    return tuple(StageRecord(name=name, processor_type=PROCESSOR_TYPES[name]) for name in StageName)


def begin(stages: Stages, name: StageName, at: datetime) -> Stages:
    """`name` begins at `at`. A stage that has begun already keeps its time."""
    return _change(
        stages,
        name,
        lambda stage: (
            stage
            if stage.status is not Status.PENDING
            else stage.model_copy(update={"status": Status.PROCESSING, "started_at": at})
        ),
    )


def complete(stages: Stages, name: StageName, at: datetime) -> Stages:
    """`name`, which must have begun, ends well at `at`."""
    return _change(
        stages,
        name,
        lambda stage: stage.model_copy(update={"status": Status.COMPLETED, "completed_at": at}),
    )


def fail(stages: Stages, name: StageName, at: datetime, error: str) -> Stages:
    """`name` fails at `at`; completed stages stay, any other that had begun is pending again."""

    def settle(stage: StageRecord) -> StageRecord:
        if stage.name is name:
            return stage.model_copy(
                update={
                    "status": Status.FAILED,
                    "started_at": stage.started_at or at,
                    "completed_at": at,
                    "error": error,
                }
            )
        if stage.status is Status.COMPLETED:
            return stage
        return StageRecord(name=stage.name, processor_type=stage.processor_type)

    return tuple(settle(stage) for stage in stages)


def first_unfinished(stages: Stages) -> StageName:
    """The first stage that is not completed: the one that fails when a runner dies without a word."""
    for stage in stages:
        if stage.status is not Status.COMPLETED:
            return stage.name
    return stages[-1].name


class Standing(StrEnum):
    """Where a job stands in one word: before, in or after its stages."""

    QUEUED = "queued"
    SEPARATION = StageName.SEPARATION.value
    HPSS = StageName.HPSS.value
    COMPOSITE = StageName.COMPOSITE.value
    NORMALIZATION = StageName.NORMALIZATION.value
    COMPLETED = "completed"
    FAILED = "failed"


def standing(stages: Stages) -> Standing:
    """`queued`, the first unfinished stage, `completed` or `failed`."""
    statuses = {stage.status for stage in stages}
    if Status.FAILED in statuses:
        return Standing.FAILED
    if statuses == {Status.PENDING}:
        return Standing.QUEUED
    return Standing.COMPLETED if statuses == {Status.COMPLETED} else Standing(first_unfinished(stages).value)


def _change(stages: Stages, name: StageName, change: Callable[[StageRecord], StageRecord]) -> Stages:
    return tuple(change(stage) if stage.name is name else stage for stage in stages)
