"""How songs fare, on a real control plane: everything that can happen to a Job of the shipped template."""

import uuid
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from kubernetes.client import V1Pod

from api.launchers import LaunchRefused, QuotaExceeded
from api.launchers.kubernetes.launcher import KubernetesLauncher
from api.status import fold
from contract import clock
from contract.job import JobSpec
from tests.api.conftest import job_record
from tests.api.launchers.conftest import SHIPPED, Launch, Song, termination_message, wait_for_quota
from tests.testbed import pod_status
from tests.testbed.cluster import Cluster, key_of
from tests.testbed.fake_node import FakeNode
from tests.testbed.waiting import wait_for

Meet = Callable[[FakeNode, V1Pod], V1Pod]

ENDS: dict[str, tuple[Meet, str]] = {
    "oom_killed": (lambda node, pod: node.oom_killed(pod), "more memory than its limit"),
    "evicted": (lambda node, pod: node.evicted(pod), 'EmptyDir volume "scratch" exceeds the limit'),
    "pod_rejected": (
        lambda node, pod: node.report(pod, rejected_long_ago()),
        "OutOfmemory: Node didn't have enough resource: memory",
    ),
    "disk_full": (
        lambda node, pod: node.failed(pod, 75, termination_message("disk_full", "The disk is full.")),
        "The disk is full.",
    ),
    "runner_error": (lambda node, pod: node.failed(pod, 1, "Traceback: …"), "ended with exit code 1 (Error)"),
}


def rejected_long_ago() -> dict[str, Any]:
    """So long ago that the Job controller tries again at once."""
    status = pod_status.rejected("OutOfmemory", "Node didn't have enough resource: memory")
    ready = pod_status.condition("Ready", "False") | {"lastTransitionTime": pod_status.now(600)}
    return {**status, "conditions": [ready]}


@pytest.fixture
def node(fake_node: FakeNode) -> FakeNode:
    """A node with a GPU; the Job controller tries again at once after what happens on it."""
    fake_node.ended_seconds_ago = 600
    return fake_node


def code_of(song: Song) -> str:
    """The code that GET answers with."""
    code = fold(job_record(song.job_id), None, song.seen(), clock.now()).code
    assert code is not None
    return code.value


@pytest.mark.parametrize("code", ENDS)
def test_three_failures_end_a_job_and_say_why(launch: Launch, node: FakeNode, code: str) -> None:
    meet, words = ENDS[code]
    song = launch()
    tries = [meet(node, song.pod())]
    tries.append(meet(node, song.pod(*tries)))
    assert not song.seen().finished
    meet(node, song.pod(*tries))

    seen = song.end()

    assert seen.failure is not None
    assert (seen.failure.code, code_of(song)) == (code, code)
    assert words in seen.failure.error
    assert seen.ended_at is not None
    assert abs((clock.now() - seen.ended_at).total_seconds()) < 30


def test_between_two_tries_a_job_is_retrying_and_says_what_went_wrong(
    launch: Launch, fake_node: FakeNode
) -> None:
    song = launch()
    fake_node.oom_killed(song.pod())

    assert "oom_killed: The runner needed more memory" in song.waits("retrying")


def test_a_failure_that_no_other_try_can_mend_ends_the_job_at_once(launch: Launch, node: FakeNode) -> None:
    song = launch()
    node.failed(song.pod(), 65, termination_message("invalid_audio", "The file is no song."))

    seen = song.end()

    assert seen.failure is not None
    assert (seen.failure.code, seen.failure.error) == ("invalid_audio", "The file is no song.")


def test_a_pod_deleted_by_hand_is_retried_and_only_the_last_loss_is_lost(
    cluster: Cluster, launch: Launch, node: FakeNode
) -> None:
    song = launch()
    lost: list[V1Pod] = []
    for _ in range(3):
        assert not song.seen().finished
        lost.append(node.running(song.pod(*lost)))
        cluster.core.delete_namespaced_pod(key_of(lost[-1]).name, song.namespace)

    song.end()

    assert code_of(song) == "lost"


def test_a_pod_that_is_gone_is_not_mistaken_for_an_earlier_one(
    cluster: Cluster, launch: Launch, node: FakeNode
) -> None:
    song = launch(backoffLimit=1)
    first = node.oom_killed(song.pod())
    second = node.running(song.pod(first))
    song.annotate(attempt=f"2 {key_of(second).uid}")
    cluster.core.delete_namespaced_pod(key_of(second).name, song.namespace)

    song.end()

    assert code_of(song) == "lost"


def test_a_song_that_takes_too_long_is_ended(launch: Launch, node: FakeNode) -> None:
    song = launch(activeDeadlineSeconds=2)
    pod = node.running(song.pod())
    song.annotate(attempt=f"1 {key_of(pod).uid}")

    seen = song.end()

    assert seen.failure is not None
    assert seen.failure.code == "deadline_exceeded"
    assert "within the 2 seconds" in seen.failure.error


def test_without_a_gpu_a_job_waits_and_fails_at_the_deadline_with_the_reason(
    launch: Launch, make_node: Callable[..., FakeNode]
) -> None:
    make_node()
    song = launch(activeDeadlineSeconds=3)
    assert "Insufficient nvidia.com/gpu" in song.waits("unschedulable")

    seen = song.end()

    assert seen.failure is not None
    assert seen.failure.code == "unschedulable"
    assert "Insufficient nvidia.com/gpu" in seen.failure.error


def test_an_image_that_cannot_be_had_is_told_while_waiting_and_after_the_deadline(
    launch: Launch, node: FakeNode
) -> None:
    song = launch(activeDeadlineSeconds=3)
    node.image_pull_back_off(song.pod())
    assert 'Back-off pulling image "stemjob-runner:1.0.0"' in song.waits("image_pull")

    seen = song.end()

    assert seen.failure is not None
    assert seen.failure.code == "image_pull"


def test_a_wait_that_is_over_is_not_the_reason_of_a_later_deadline(launch: Launch, node: FakeNode) -> None:
    song = launch(activeDeadlineSeconds=3)
    pod = node.image_pull_back_off(song.pod())
    song.waits("image_pull")
    node.running(pod)
    assert song.seen().waiting is None
    song.annotate(attempt=f"1 {key_of(pod).uid}")

    assert song.end().failure is not None
    assert code_of(song) == "deadline_exceeded"


def test_a_diagnosis_is_written_once(launch: Launch, node: FakeNode) -> None:
    song = launch()
    node.image_pull_back_off(song.pod())
    song.waits("image_pull")
    before = song.cluster.batch.read_namespaced_job(song.name, song.namespace).metadata

    song.seen()

    after = song.cluster.batch.read_namespaced_job(song.name, song.namespace).metadata
    assert before
    assert after
    assert "image_pull" in song.annotations()["stemjob.dev/diagnosis"]
    assert before.resource_version == after.resource_version


def test_a_pod_that_pod_security_forbids_is_told_while_waiting_and_after_the_deadline(launch: Launch) -> None:
    template = deepcopy(SHIPPED["spec"]["template"])
    template["spec"]["securityContext"]["runAsNonRoot"] = False
    song = launch(activeDeadlineSeconds=3, template=template)
    assert 'violates PodSecurity "restricted:latest"' in song.waits("pod_forbidden")

    song.end()

    assert code_of(song) == "pod_forbidden"


def test_a_forbidden_pod_is_told_at_the_deadline_even_when_nobody_looked_before(
    cluster: Cluster, launch: Launch
) -> None:
    song = launch(activeDeadlineSeconds=2)
    cluster.kubectl("-n", song.namespace, "delete", "serviceaccount", "stemjob-runner")
    other = launch(activeDeadlineSeconds=2)

    assert cluster.wait_for_end(other.namespace, other.name) == "DeadlineExceeded"

    assert "stemjob.dev/diagnosis" not in other.annotations()
    assert code_of(other) == "pod_forbidden"


def test_a_suspended_job_says_so_until_it_is_resumed(
    cluster: Cluster, launch: Launch, node: FakeNode
) -> None:
    song = launch(suspend=True)
    assert "held back until it is resumed" in song.waits("suspended")

    cluster.batch.patch_namespaced_job(song.name, song.namespace, {"spec": {"suspend": False}})

    node.running(song.pod())
    wait_for("the wait to be over", lambda: song.seen().waiting is None)


def test_a_full_quota_refuses_the_job(cluster: Cluster, launch: Launch) -> None:
    song = launch()
    cluster.kubectl("-n", song.namespace, "create", "quota", "songs", "--hard=count/jobs.batch=1")
    wait_for_quota(cluster, song.namespace)
    another = JobSpec(job_id=str(uuid.uuid4()), store="gs://bucket")
    with pytest.raises(QuotaExceeded, match="quota of jobs is used up"):
        song.launcher.launch(another)

    assert song.launcher.observe(another.job_id) is None


def test_a_job_that_kubernetes_refuses_is_refused(open_launcher: Callable[..., KubernetesLauncher]) -> None:
    broken = deepcopy(SHIPPED)
    broken["spec"]["template"]["spec"]["volumes"].pop()  # still mounted: only the API server knows

    with pytest.raises(LaunchRefused, match="refused the job"):
        open_launcher(broken).launch(JobSpec(job_id=str(uuid.uuid4()), store="gs://bucket"))


def test_a_job_that_ended_well_has_no_failure(launch: Launch, node: FakeNode) -> None:
    song = launch()
    node.succeeded(song.pod())

    seen = song.end()

    assert (seen.failure, seen.waiting) == (None, None)
