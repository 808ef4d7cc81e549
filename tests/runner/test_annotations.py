"""What a report looks like on a Job, and who may write it: decisions that need no cluster."""

import base64
import json
import uuid
from typing import Any

import pytest

from api.launchers.kubernetes import reports, stamp
from contract.clock import now
from contract.progress import Progress
from contract.stages import StageName, Stages, begin, complete, fail, pending_stages, standing
from runner.job_annotations import (
    ATTEMPT,
    PROGRESS,
    STAGE_LABEL,
    AttemptId,
    JobMetadata,
    annotations_of,
    change_of,
    is_overtaken,
    next_attempt,
)
from runner.own_job import pod_uid_of

MINE = AttemptId(2, "mine")


def job(annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None) -> JobMetadata:
    metadata: dict[str, Any] = {"resourceVersion": "7", "annotations": annotations, "labels": labels}
    return JobMetadata.of({"metadata": metadata})


def begun(*names: StageName) -> Stages:
    stages = pending_stages()
    for name in names:
        stages = begin(stages, name, now())
    return stages


def completed(*names: StageName) -> Stages:
    stages = begun(*names)
    for name in names:
        stages = complete(stages, name, now())
    return stages


def test_runner_and_api_mean_the_same_annotations_and_label() -> None:
    assert (PROGRESS, ATTEMPT, STAGE_LABEL) == (reports.PROGRESS, reports.ATTEMPT, stamp.STAGE_LABEL)


def test_there_is_one_annotation_for_each_stage_with_its_whole_record() -> None:
    annotations = annotations_of(Progress(progress=1 / 3, stages=begun(StageName.SEPARATION)), MINE)
    assert list(annotations) == [
        "stemjob.dev/audio_separation",
        "stemjob.dev/harmonic_percussive_separation",
        "stemjob.dev/composite_track_creation",
        "stemjob.dev/normalization",
        "stemjob.dev/progress",
        "stemjob.dev/attempt",
    ]
    assert annotations["stemjob.dev/progress"] == "0.333"
    assert annotations["stemjob.dev/attempt"] == "2 mine"
    record = json.loads(annotations["stemjob.dev/audio_separation"])
    assert (record["status"], record["processor_type"]) == ("processing", "separator")


def test_a_sentence_that_is_too_long_for_an_annotation_loses_its_end() -> None:
    stages = fail(pending_stages(), StageName.SEPARATION, now(), "\x00" * 5000)
    annotation = annotations_of(Progress(stages=stages), MINE)["stemjob.dev/audio_separation"]
    assert len(annotation) <= 4096
    assert json.loads(annotation)["error"].endswith("\x00…")


@pytest.mark.parametrize(
    ("stages", "label"),
    [
        (pending_stages(), "queued"),
        (begun(StageName.SEPARATION), "audio_separation"),
        (begun(*StageName), "audio_separation"),
        (completed(StageName.SEPARATION), "harmonic_percussive_separation"),
        (
            completed(StageName.SEPARATION, StageName.HPSS, StageName.COMPOSITE),
            "normalization",
        ),
        (completed(*StageName), "completed"),
        (fail(begun(*StageName), StageName.HPSS, now(), "Broken."), "failed"),
    ],
)
def test_the_label_says_where_the_job_stands(stages: Stages, label: str) -> None:
    assert standing(stages) == label


def test_only_what_differs_is_patched_and_only_on_the_job_as_it_was_seen() -> None:
    progress = Progress(progress=0.5)
    there = annotations_of(progress, MINE)
    labels = {STAGE_LABEL: "queued", "team": "songs"}
    assert change_of(job(there, labels), progress, MINE) == {}
    further = change_of(job(there, labels), Progress(progress=0.6), MINE)
    assert further == {"resourceVersion": "7", "annotations": {PROGRESS: "0.600"}, "labels": {}}


def test_a_first_report_says_everything() -> None:
    change = change_of(job(), Progress(), MINE)
    assert len(change["annotations"]) == 6
    assert change["labels"] == {STAGE_LABEL: "queued"}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("1 first", AttemptId(2, "mine")),
        ("9 tenth", AttemptId(10, "mine")),
        ("4 mine", AttemptId(4, "mine")),  # this pod's own report, whose answer was lost
        ("", AttemptId(1, "mine")),
        ("nonsense", AttemptId(1, "mine")),
    ],
)
def test_an_attempt_has_the_number_after_the_last(annotation: str, expected: AttemptId) -> None:
    assert next_attempt(AttemptId.of(job({ATTEMPT: annotation})), "mine") == expected


@pytest.mark.parametrize(
    ("last", "overtaken"),
    [
        (AttemptId(1, "first"), False),
        (MINE, False),
        (AttemptId(2, "another"), True),
        (AttemptId(3, "another"), True),
        (AttemptId(0, ""), False),
    ],
)
def test_a_later_attempt_has_a_higher_number(last: AttemptId, overtaken: bool) -> None:
    assert is_overtaken(MINE, last) is overtaken


def test_a_token_tells_the_pod_that_it_is_bound_to() -> None:
    claims = {"kubernetes.io": {"namespace": "songs", "pod": {"name": "song-x", "uid": "1234"}}}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert pod_uid_of(f"Bearer header.{payload}.signature") == "1234"


@pytest.mark.parametrize("token", ["", "Bearer opaque", "a.b.c", "a.e30.c"])
def test_whoever_has_another_token_gets_a_name_of_their_own(token: str) -> None:
    name = pod_uid_of(token)
    assert str(uuid.UUID(name)) == name
    assert name != pod_uid_of(token)
