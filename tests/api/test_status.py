"""The fold, as a table: what is known of a job, and what GET says."""

from datetime import UTC, datetime, timedelta

import pytest

from api.launchers import Observation
from api.status import LAUNCH_GRACE, fold, may_have_a_manifest
from contract.failures import Failure, FailureCode
from contract.job import InputObject, JobOptions, JobRecord
from contract.manifest import JobAnswer, Manifest, Waiting
from contract.progress import Progress
from contract.stages import StageName, Status, begin, complete, fail, pending_stages

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
SOON = CREATED + timedelta(seconds=10)
LATE = CREATED + LAUNCH_GRACE
ENDED = CREATED + timedelta(seconds=60)
RECORD = JobRecord(
    job_id="job",
    created_at=CREATED,
    file_name="song.wav",
    options=JobOptions(),
    input=InputObject(key="k", generation=1, size=1),
)
STARTED = begin(pending_stages(), StageName.SEPARATION, SOON)
SECOND = begin(complete(STARTED, StageName.SEPARATION, SOON), StageName.HPSS, SOON)
DONE = SECOND
for name in StageName:
    DONE = complete(begin(DONE, name, SOON), name, SOON)
FULL = Failure(code=FailureCode.DISK_FULL, error="The disk is full.")
MANIFEST = Manifest(
    answer=JobAnswer(job_id="job", status=Status.COMPLETED, created_at=CREATED, stages=SECOND, progress=1.0),
    file_name="song.wav",
    finished_at=SOON,
)
PENDING, PROCESSING, COMPLETED, FAILED = Status
NO_PROGRESS = [PENDING] * 4

ROWS = {
    "not launched yet": (None, None, SOON, PROCESSING, None, NO_PROGRESS),
    "unknown for too long": (None, None, LATE, FAILED, "lost", [FAILED, PENDING, PENDING, PENDING]),
    "started, nothing said": (None, Observation(finished=False), LATE, PROCESSING, None, NO_PROGRESS),
    "in its first stage": (
        None,
        Observation(finished=False, progress=Progress(stages=STARTED, progress=0.2)),
        SOON,
        PROCESSING,
        None,
        [PROCESSING, PENDING, PENDING, PENDING],
    ),
    "ended without a word": (
        None,
        Observation(finished=True, progress=Progress(stages=SECOND), ended_at=ENDED),
        LATE,
        FAILED,
        "lost",
        [COMPLETED, FAILED, PENDING, PENDING],
    ),
    "ended with a reported failure": (
        None,
        Observation(
            finished=True,
            progress=Progress(stages=fail(SECOND, StageName.HPSS, SOON, FULL.error), failure=FULL),
            ended_at=ENDED,
        ),
        LATE,
        FAILED,
        "disk_full",
        [COMPLETED, FAILED, PENDING, PENDING],
    ),
    "ended, and the launcher knows why": (
        None,
        Observation(finished=True, failure=FULL, ended_at=ENDED),
        LATE,
        FAILED,
        "disk_full",
        [FAILED, PENDING, PENDING, PENDING],
    ),
    "an attempt failed and another will follow": (
        None,
        Observation(
            finished=False,
            progress=Progress(stages=fail(SECOND, StageName.HPSS, SOON, FULL.error), failure=FULL),
        ),
        SOON,
        PROCESSING,
        None,
        NO_PROGRESS,
    ),
    "all stages done, the manifest not written yet": (
        None,
        Observation(finished=False, progress=Progress(stages=DONE, progress=1.0)),
        SOON,
        PROCESSING,
        None,
        [COMPLETED, COMPLETED, COMPLETED, PROCESSING],
    ),
    "a manifest is the last word": (
        MANIFEST,
        Observation(finished=True, failure=FULL),
        LATE,
        COMPLETED,
        None,
        [COMPLETED, PROCESSING, PENDING, PENDING],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_fold(row: str) -> None:
    manifest, seen, now, status, code, stages = ROWS[row]

    answer = fold(RECORD, manifest, seen, now)

    assert (answer.status, answer.code) == (status, code)
    assert [stage.status for stage in answer.stages] == stages
    if status is FAILED:
        errors = [stage.error for stage in answer.stages if stage.status is FAILED]
        assert errors == [answer.error]


def test_the_time_of_a_silent_death_is_the_same_at_every_look() -> None:
    seen = Observation(finished=True, progress=Progress(stages=STARTED), ended_at=ENDED)

    looks = [fold(RECORD, None, seen, LATE + timedelta(minutes=minute)) for minute in range(3)]

    assert looks[0] == looks[1] == looks[2]
    assert looks[0].stages[0].completed_at == ENDED
    assert looks[0].stages[0].duration_seconds == 50


@pytest.mark.parametrize(
    ("seen", "worthwhile"),
    [
        (None, True),
        (Observation(finished=True), True),
        (Observation(finished=False), False),
        (Observation(finished=False, progress=Progress(stages=SECOND)), False),
        (Observation(finished=False, progress=Progress(stages=DONE)), True),
        (Observation(finished=False, progress=Progress(stages=SECOND, failure=FULL)), True),
    ],
)
def test_the_manifest_is_read_only_when_it_may_be_there(
    seen: Observation | None, *, worthwhile: bool
) -> None:
    assert may_have_a_manifest(seen) is worthwhile


def test_why_a_job_waits_is_handed_on() -> None:
    waiting = Waiting(code="queued", message="1 song is before this one.")

    assert fold(RECORD, None, Observation(finished=False, waiting=waiting), SOON).waiting == waiting
