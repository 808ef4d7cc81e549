"""The status of a job as a pure fold over what is known of it."""

from datetime import datetime, timedelta

from api.launchers import Observation
from contract.failures import Failure, FailureCode
from contract.job import JobRecord
from contract.manifest import JobAnswer, Manifest
from contract.progress import Progress
from contract.stages import Stages, Status, fail, first_unfinished

LAUNCH_GRACE = timedelta(minutes=5)
"""A job that no launcher knows is waiting for the sweep to start it for so long, and lost afterwards."""

LOST = Failure(code=FailureCode.LOST, error="The runner ended without a word; please upload the song again.")


def fold(record: JobRecord, manifest: Manifest | None, seen: Observation | None, now: datetime) -> JobAnswer:
    """The answer of GET /job/{id}.

    A manifest is the last word. Before it comes, what the launcher sees decides; a launcher that has ended a
    job without a manifest tells of a failure. `now` matters only to a job that no launcher knows.
    """
    if manifest is not None:
        return manifest.answer
    if seen is None and now - record.created_at < LAUNCH_GRACE:
        seen = Observation(finished=False)
    if seen is None:
        return _failed(record, Progress(), LOST, record.created_at)
    progress = seen.progress or Progress()
    if seen.finished:
        failure = seen.failure or progress.failure or LOST
        return _failed(record, progress, failure, seen.ended_at or record.created_at)
    return JobAnswer(
        job_id=record.job_id,
        status=Status.PROCESSING,
        created_at=record.created_at,
        stages=progress.stages,
        progress=progress.progress,
        waiting=seen.waiting,
    )


def _failed(record: JobRecord, progress: Progress, failure: Failure, at: datetime) -> JobAnswer:
    return JobAnswer(
        job_id=record.job_id,
        status=Status.FAILED,
        created_at=record.created_at,
        stages=_failed_stages(progress.stages, failure, at),
        progress=progress.progress,
        code=failure.code,
        error=failure.error,
    )


def _failed_stages(stages: Stages, failure: Failure, at: datetime) -> Stages:
    if any(stage.status is Status.FAILED for stage in stages):
        return stages
    return fail(stages, first_unfinished(stages), at, failure.error)
