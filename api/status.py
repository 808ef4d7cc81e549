"""The status of a job as a pure fold over what is known of it."""

from datetime import datetime, timedelta

from api.launchers import Observation
from contract.failures import Failure, FailureCode
from contract.job import JobRecord
from contract.manifest import JobAnswer, Manifest
from contract.progress import Progress
from contract.stages import Stages, Status, fail, first_unfinished, pending_stages

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
        stages=_unfinished_stages(progress),
        progress=progress.progress,
        waiting=seen.waiting,
    )


def may_have_a_manifest(seen: Observation | None) -> bool:
    """Whether the manifest is worth reading: not while a runner is in the middle of a song."""
    if seen is None or seen.finished or seen.progress is None:
        return seen is None or seen.finished
    return _has_failed(seen.progress) or _all_completed(seen.progress.stages)


def _has_failed(progress: Progress) -> bool:
    """Whether the attempt has ended badly; a Job's annotations show only the failed stage."""
    return progress.failure is not None or any(stage.status is Status.FAILED for stage in progress.stages)


def _all_completed(stages: Stages) -> bool:
    return all(stage.status is Status.COMPLETED for stage in stages)


def _unfinished_stages(progress: Progress) -> Stages:
    """The stages of a job that goes on, whatever its runner said last.

    An attempt that failed will be tried again from the beginning. And until the manifest is there, the last
    stage is not completed.
    """
    if _has_failed(progress):
        return pending_stages()
    if _all_completed(progress.stages):
        last = progress.stages[-1]
        reopened = last.model_copy(update={"status": Status.PROCESSING, "completed_at": None})
        return (*progress.stages[:-1], reopened)
    return progress.stages


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
