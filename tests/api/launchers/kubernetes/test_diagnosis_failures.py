"""Why a Job failed, as a table: what is left of it, and the code that is told."""

from typing import Any

import pytest

from api.launchers.kubernetes.diagnosis import DIAGNOSIS, diagnose
from tests.api.launchers.kubernetes.pictures import (
    DRAINED,
    FAILED_AT,
    OOM,
    SAID,
    condition,
    ended,
    facts,
    failed_job,
    job,
    kept,
    pod,
)

FAILURES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str | None]] = {
    "memory": (failed_job(), [OOM], "oom_killed"),
    "an eviction before its exit code": (
        failed_job(),
        [pod(state=ended(137), reason="Evicted", message="too big")],
        "evicted",
    ),
    "a disruption that counted": (failed_job(), [pod(state=ended(143), conditions=[DRAINED])], "evicted"),
    "the try that counted before a later disruption": (
        failed_job(),
        [pod(state=ended(137, "OOMKilled"), uid="b", age=9), pod(state=ended(143), conditions=[DRAINED])],
        "oom_killed",
    ),
    "rejected by the node": (failed_job(), [pod(reason="OutOfcpu", message="no cpu")], "pod_rejected"),
    "a deadline of the pod": (
        failed_job(),
        [pod(state=ended(143), reason="DeadlineExceeded", message="too long")],
        "deadline_exceeded",
    ),
    "the runner's own word": (failed_job(), [pod(state=ended(75, message=SAID))], "disk_full"),
    "its own word though a child ran out of memory": (
        failed_job(),
        [pod(state=ended(75, "OOMKilled", SAID))],
        "disk_full",
    ),
    "the end of the log in place of a word": (
        failed_job(),
        [pod(state=ended(1, message="Traceback …"))],
        "runner_error",
    ),
    "killed by nobody knows whom": (failed_job(), [pod(state=ended(137))], None),
    "deleted before it began": (failed_job(), [pod()], None),
    "no pod left": (failed_job(), [], None),
    "the newest of several": (failed_job(), [pod(state=ended(75, message=SAID), age=9), OOM], "oom_killed"),
    "another container's end": (
        failed_job(),
        [pod(state=ended(137, "OOMKilled"), container="helper")],
        None,
    ),
    "the last reporter is gone": (failed_job(annotations={"stemjob.dev/attempt": "3 gone"}), [OOM], None),
    "rejected after the last reporter": (
        failed_job(annotations={"stemjob.dev/attempt": "1 gone"}),
        [pod(reason="OutOfcpu")],
        "pod_rejected",
    ),
    "the deadline": (failed_job("DeadlineExceeded"), [], "deadline_exceeded"),
    "the deadline, whatever its pods still say": (
        failed_job("DeadlineExceeded"),
        [pod(state=ended(143, message=SAID))],
        "deadline_exceeded",
    ),
    "the deadline of one that waited": (
        failed_job("DeadlineExceeded", annotations=kept("image_pull", "a")),
        [],
        "image_pull",
    ),
    "the deadline of one that had begun since": (
        failed_job("DeadlineExceeded", annotations=kept("image_pull", "a") | {"stemjob.dev/attempt": "1 a"}),
        [],
        "deadline_exceeded",
    ),
    "the deadline of a second try that waited": (
        failed_job(
            "DeadlineExceeded", annotations=kept("unschedulable", "b") | {"stemjob.dev/attempt": "1 a"}
        ),
        [],
        "unschedulable",
    ),
    "the deadline of one that was forbidden and then began": (
        failed_job("DeadlineExceeded", annotations=kept("pod_forbidden") | {"stemjob.dev/attempt": "1 a"}),
        [],
        "deadline_exceeded",
    ),
    "a diagnosis that nobody understands": (
        failed_job("DeadlineExceeded", annotations={DIAGNOSIS: "{"}),
        [],
        "deadline_exceeded",
    ),
    "complete": (job(condition("Complete")), [pod("Succeeded", ended(0))], None),
    "complete after a failed try": (job(condition("Complete"), failed=1), [OOM], None),
}


@pytest.mark.parametrize("row", FAILURES)
def test_why_a_job_failed(row: str) -> None:
    a_job, pods, code = FAILURES[row]

    seen = diagnose(*facts(a_job, pods))

    assert (seen.finished, seen.waiting, seen.ended_at) == (True, None, FAILED_AT)
    assert (seen.failure and seen.failure.code) == code
