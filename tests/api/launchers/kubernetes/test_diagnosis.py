"""The diagnosis as a table: what Kubernetes shows of a Job, and what is told of it."""

from typing import Any

import pytest

from api.launchers.kubernetes.diagnosis import diagnose, diagnosis_to_keep, needs_events
from contract.progress import Progress
from contract.stages import pending_stages
from runner.job_annotations import AttemptId, annotations_of
from tests.api.launchers.kubernetes.pictures import (
    NO_IMAGE,
    OOM,
    PERMANENT,
    REPORTED,
    RUNNING,
    STARTED,
    condition,
    ended,
    facts,
    failed_job,
    job,
    kept,
    pod,
    waiting,
)

UNSCHEDULABLE = condition("PodScheduled", "Unschedulable", "0/1 nodes: no GPU", status="False")
RESUMED = condition("Suspended", "JobResumed", "Job resumed", status="False")

WAITS: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[str], str | None, str]] = {
    "just created": (job(), [], [], None, ""),
    "being started": (job(), [pod("Pending", waiting("ContainerCreating"))], [], None, ""),
    "running": (job(), [RUNNING], [], None, ""),
    "no node": (job(), [pod("Pending", conditions=[UNSCHEDULABLE])], [], "unschedulable", "no GPU"),
    "no image": (job(), [pod("Pending", waiting("ErrImagePull", "404"))], [], "image_pull", "404"),
    "no secret": (
        job(),
        [pod("Pending", waiting("CreateContainerConfigError", "secret"))],
        [],
        "pod_rejected",
        "secret",
    ),
    "no image of a helper": (
        job(),
        [pod("Pending", waiting("ImagePullBackOff"), container="helper")],
        [],
        "image_pull",
        "ImagePullBackOff",
    ),
    "no image of what goes before": (
        job(),
        [{"metadata": RUNNING["metadata"], "status": {"initContainerStatuses": [NO_IMAGE]}}],
        [],
        "image_pull",
        "no such image",
    ),
    "forbidden": (job(), [], ["older", "violates PodSecurity"], "pod_forbidden", "violates PodSecurity"),
    "suspended": (job(condition("Suspended", "JobSuspended", "Job suspended")), [], [], "suspended", "Job s"),
    "suspended, not yet noticed": (job(suspend=True), [], [], "suspended", "Job suspended"),
    "resumed": (job(RESUMED), [RUNNING], [], None, ""),
    "after a failure": (job(failed=1), [OOM], [], "retrying", "oom_killed"),
    "after a loss": (job(failed=1), [], [], "retrying", "An attempt failed, and"),
    "the second is being started": (job(failed=1), [OOM, pod("Pending", uid="b")], [], "retrying", "oom"),
    "the second has no node": (
        job(failed=1),
        [OOM, pod("Pending", uid="b", conditions=[UNSCHEDULABLE])],
        [],
        "unschedulable",
        "",
    ),
    "the second runs": (job(failed=1), [OOM, RUNNING], [], None, ""),
    "the second has just ended well": (
        job(failed=1),
        [OOM, pod("Succeeded", ended(0), uid="b")],
        [],
        None,
        "",
    ),
    "about to fail for good": (job(), [pod(state=ended(65, message=PERMANENT))], [], None, ""),
    "failing": (job(condition("FailureTarget", "BackoffLimitExceeded"), failed=3), [OOM], [], None, ""),
}


@pytest.mark.parametrize("row", WAITS)
def test_why_a_job_waits(row: str) -> None:
    a_job, pods, refusals, code, words = WAITS[row]

    seen = diagnose(*facts(a_job, pods), refusals)

    assert (seen.finished, seen.failure, seen.ended_at) == (False, None, None)
    assert (seen.waiting and seen.waiting.code) == code
    assert seen.waiting is None or words in seen.waiting.message


REPORTS: dict[str, tuple[dict[str, Any], list[dict[str, Any]], bool]] = {
    "of the pod that runs": (job(annotations=REPORTED | {"stemjob.dev/attempt": "1 b"}), [RUNNING], True),
    "of nobody in particular": (job(annotations=REPORTED), [RUNNING], True),
    "of an earlier pod": (job(annotations=REPORTED | {"stemjob.dev/attempt": "1 a"}), [OOM, RUNNING], False),
    "between two tries": (job(annotations=REPORTED, failed=1), [OOM], False),
    "of a job that is failing": (
        job(condition("FailureTarget"), annotations=REPORTED, failed=3),
        [OOM],
        True,
    ),
    "of a failed job": (failed_job(annotations=REPORTED), [OOM], True),
    "none": (job(), [RUNNING], False),
}


@pytest.mark.parametrize("row", REPORTS)
def test_whose_report_counts(row: str) -> None:
    a_job, pods, counts = REPORTS[row]

    progress = diagnose(*facts(a_job, pods)).progress

    assert (progress.stages if progress else None) == (STARTED if counts else None)


def test_what_a_runner_writes_is_what_is_read() -> None:
    progress = Progress(attempt="2 b", progress=0.625, stages=STARTED)
    written = annotations_of(progress, AttemptId(2, "b"))

    assert diagnose(*facts(job(annotations=written), [RUNNING])).progress == progress


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("0.625", 0.625), ("1.0", 1.0), ("7", 1.0), ("-1", 0.0), ("nan", 0.0), ("much", 0.0), ("", 0.0)],
)
def test_progress_is_from_0_to_1_whatever_stands_there(text: str, fraction: float) -> None:
    seen = diagnose(*facts(job(annotations=REPORTED | {"stemjob.dev/progress": text}), [RUNNING]))

    assert seen.progress is not None
    assert seen.progress.progress == fraction


@pytest.mark.parametrize("text", ["{", "[]", REPORTED["stemjob.dev/normalization"]])
def test_a_stage_that_cannot_be_understood_is_pending(text: str) -> None:
    seen = diagnose(*facts(job(annotations=REPORTED | {"stemjob.dev/audio_separation": text}), [RUNNING]))

    assert seen.progress is not None
    assert seen.progress.stages == pending_stages()


EVENTS: dict[str, tuple[dict[str, Any], list[dict[str, Any]], bool]] = {
    "no pod yet": (job(), [], True),
    "a pod": (job(), [RUNNING], False),
    "suspended": (job(suspend=True), [], False),
    "after a failure": (job(failed=1), [], False),
    "past the deadline": (failed_job("DeadlineExceeded"), [], True),
    "past the deadline, diagnosed": (
        failed_job("DeadlineExceeded", annotations=kept("unschedulable", "a")),
        [],
        False,
    ),
    "failed": (failed_job(), [], False),
    "complete": (job(condition("Complete")), [], False),
}


@pytest.mark.parametrize("row", EVENTS)
def test_events_are_read_only_when_nothing_else_tells(row: str) -> None:
    a_job, pods, needed = EVENTS[row]

    assert needs_events(*facts(a_job, pods)) == needed


NO_NODE = pod("Pending", conditions=[UNSCHEDULABLE])

KEPT: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[str], str | None]] = {
    "new": (job(), [NO_NODE], [], "unschedulable"),
    "known": (job(annotations=kept("unschedulable", "a")), [NO_NODE], [], None),
    "known of another pod": (job(annotations=kept("unschedulable", "b")), [NO_NODE], [], "unschedulable"),
    "another reason": (job(annotations=kept("image_pull", "a")), [NO_NODE], [], "unschedulable"),
    "no pod": (job(), [], ["forbidden"], "pod_forbidden"),
    "running": (job(), [RUNNING], [], None),
    "suspended, which has no deadline": (job(suspend=True), [], [], None),
    "retrying, which shows": (job(failed=1), [OOM], [], None),
    "failed": (failed_job(), [OOM], [], None),
}


@pytest.mark.parametrize("row", KEPT)
def test_what_is_kept_on_the_job(row: str) -> None:
    a_job, pods, refusals, code = KEPT[row]

    diagnosis = diagnosis_to_keep(*facts(a_job, pods), refusals)

    assert (diagnosis and diagnosis.code) == code
