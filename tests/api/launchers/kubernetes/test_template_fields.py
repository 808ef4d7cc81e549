"""Each field of the shipped template does what it is there for, shown on a real control plane.

`PROVEN_BY` names the test of every field; what only a kubelet acts on is proven in `test_template_node`.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from kubernetes.client import ApiException, V1Pod

from tests.api.launchers.conftest import SHIPPED, another_pod, create, shipped
from tests.api.launchers.kubernetes import test_template_node
from tests.api.launchers.kubernetes.test_template import leaves, runner_of
from tests.testbed.cluster import Cluster, key_of
from tests.testbed.fake_node import FakeNode
from tests.testbed.waiting import wait_for

POD = "/spec/template/spec"
RUNNER = f"{POD}/containers/0"
PROVEN_BY = {
    "/apiVersion": "test_a_runner_that_keeps_failing_gets_three_tries",
    "/kind": "test_a_runner_that_keeps_failing_gets_three_tries",
    "/spec/backoffLimit": "test_a_runner_that_keeps_failing_gets_three_tries",
    "/spec/activeDeadlineSeconds": "test_the_deadline_ends_a_song_that_nothing_can_run",
    "/spec/ttlSecondsAfterFinished": "test_a_finished_job_is_removed",
    "/spec/podFailurePolicy/rules/0": "test_a_disruption_costs_no_try",
    "/spec/podFailurePolicy/rules/1": "test_a_permanent_exit_code_ends_the_job_at_once",
    "/spec/template/metadata/annotations": "test_the_pod_is_what_the_template_says",
    f"{POD}/restartPolicy": "test_a_runner_that_keeps_failing_gets_three_tries",
    f"{POD}/terminationGracePeriodSeconds": "test_a_deleted_pod_has_its_grace_period",
    f"{POD}/serviceAccountName": "test_the_pod_is_what_the_template_says",
    f"{POD}/automountServiceAccountToken": "test_a_container_that_is_added_gets_no_token",
    f"{POD}/securityContext/runAsNonRoot": "test_the_restricted_level_needs_the_field",
    f"{POD}/securityContext/seccompProfile": "test_the_restricted_level_needs_the_field",
    f"{RUNNER}/securityContext/allowPrivilegeEscalation": "test_the_restricted_level_needs_the_field",
    f"{RUNNER}/securityContext/capabilities": "test_the_restricted_level_needs_the_field",
    f"{POD}/tolerations": "test_a_tainted_gpu_node_takes_the_pod",
    f"{RUNNER}/name": "test_a_permanent_exit_code_ends_the_job_at_once",
    f"{RUNNER}/resources/requests": "test_a_node_without_room_does_not_take_the_pod",
    f"{RUNNER}/resources/limits/nvidia.com/gpu": "test_a_node_without_room_does_not_take_the_pod",
}
PROVEN_ON_A_NODE = {
    **dict.fromkeys(
        (
            f"{POD}/enableServiceLinks",
            f"{POD}/securityContext/runAsUser",
            f"{POD}/securityContext/runAsGroup",
            f"{POD}/securityContext/fsGroup",
            f"{POD}/volumes/0/name",
            f"{POD}/volumes/1",
            f"{RUNNER}/env",
            f"{RUNNER}/securityContext/readOnlyRootFilesystem",
            f"{RUNNER}/terminationMessagePolicy",
            f"{RUNNER}/volumeMounts",
        ),
        "test_a_runner_finds_what_the_template_promises",
    ),
    f"{RUNNER}/resources/limits/memory": "test_a_runner_that_really_takes_too_much_memory_is_oom_killed",
}
TAKEN_ON_TRUST = {
    f"{RUNNER}/image": "is built and pulled elsewhere",
    f"{RUNNER}/imagePullPolicy": "saves the pull",
    f"{POD}/securityContext/fsGroupChangePolicy": "saves time on large volumes",
    f"{POD}/volumes/0/emptyDir/sizeLimit": "a kubelet notices within a minute: too long for a test",
    f"{RUNNER}/resources/limits/ephemeral-storage": "likewise",
}


def test_no_field_is_without_a_proof() -> None:
    known = (*PROVEN_BY, *PROVEN_ON_A_NODE, *TAKEN_ON_TRUST)

    def is_under(field: str, place: str) -> bool:
        return field == place or field.startswith(f"{place}/")

    fields = leaves(SHIPPED)
    assert [field for field in fields if not any(is_under(field, place) for place in known)] == []
    assert [place for place in known if not any(is_under(field, place) for field in fields)] == []
    assert {name for name in PROVEN_BY.values() if name not in globals()} == set()
    assert {name for name in PROVEN_ON_A_NODE.values() if not hasattr(test_template_node, name)} == set()


def test_a_runner_that_keeps_failing_gets_three_tries(
    cluster: Cluster, jobs_namespace: str, fake_node: FakeNode
) -> None:
    fake_node.ended_seconds_ago = 600
    job = create(cluster, jobs_namespace, SHIPPED)
    tries: list[V1Pod] = []
    for _ in range(3):
        pod = another_pod(cluster, jobs_namespace, job, *tries)
        tries.append(fake_node.failed(pod, 75))

    assert cluster.wait_for_end(jobs_namespace, job) == "BackoffLimitExceeded"
    assert {key_of(pod) for pod in cluster.pods_of(jobs_namespace, job)} == {key_of(pod) for pod in tries}


def test_the_deadline_ends_a_song_that_nothing_can_run(cluster: Cluster, jobs_namespace: str) -> None:
    assert SHIPPED["spec"]["activeDeadlineSeconds"] == 4 * 60 * 60
    job = create(cluster, jobs_namespace, shipped(activeDeadlineSeconds=1))  # there is no node

    assert cluster.wait_for_end(jobs_namespace, job) == "DeadlineExceeded"
    wait_for("the pod to be gone", lambda: not cluster.pods_of(jobs_namespace, job))


def test_a_finished_job_is_removed(cluster: Cluster, jobs_namespace: str, fake_node: FakeNode) -> None:
    assert SHIPPED["spec"]["ttlSecondsAfterFinished"] == 24 * 60 * 60
    job = create(cluster, jobs_namespace, shipped(ttlSecondsAfterFinished=1))
    fake_node.succeeded(cluster.wait_for_pod(jobs_namespace, job))

    def jobs() -> list[Any]:
        return cluster.batch.list_namespaced_job(jobs_namespace).items

    wait_for("the Job to be removed", lambda: not jobs())


def test_a_disruption_costs_no_try(cluster: Cluster, jobs_namespace: str, fake_node: FakeNode) -> None:
    fake_node.ended_seconds_ago = 600
    job = create(cluster, jobs_namespace, SHIPPED)
    disrupted: list[V1Pod] = []
    for _ in range(SHIPPED["spec"]["backoffLimit"] + 2):
        pod = another_pod(cluster, jobs_namespace, job, *disrupted)
        disrupted.append(fake_node.disrupted(pod))

    fake_node.succeeded(another_pod(cluster, jobs_namespace, job, *disrupted))

    assert cluster.wait_for_end(jobs_namespace, job) == "Complete"
    status = cluster.batch.read_namespaced_job(job, jobs_namespace).status
    assert status
    assert not status.failed


@pytest.mark.parametrize("code", SHIPPED["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"])
def test_a_permanent_exit_code_ends_the_job_at_once(
    cluster: Cluster, jobs_namespace: str, fake_node: FakeNode, code: int
) -> None:
    job = create(cluster, jobs_namespace, SHIPPED)
    fake_node.failed(cluster.wait_for_pod(jobs_namespace, job), code)

    assert cluster.wait_for_end(jobs_namespace, job) == "PodFailurePolicy"
    assert len(cluster.pods_of(jobs_namespace, job)) == 1


def test_the_pod_is_what_the_template_says(
    cluster: Cluster, jobs_namespace: str, fake_node: FakeNode
) -> None:
    job = create(cluster, jobs_namespace, SHIPPED)
    pod = cluster.wait_for_pod(jobs_namespace, job)
    assert pod.metadata
    assert pod.spec

    assert pod.metadata.annotations == SHIPPED["spec"]["template"]["metadata"]["annotations"]
    assert pod.spec.service_account_name == "stemjob-runner"


def test_a_container_that_is_added_gets_no_token(
    cluster: Cluster, jobs_namespace: str, fake_node: FakeNode
) -> None:
    template = shipped()
    helper = {"name": "helper", "image": "x", "securityContext": runner_of(template)["securityContext"]}
    template["spec"]["template"]["spec"]["containers"].append(helper)
    job = create(cluster, jobs_namespace, template)

    spec = cluster.wait_for_pod(jobs_namespace, job).spec

    assert spec
    assert [volume.name for volume in spec.volumes or []] == ["scratch", "token"]
    assert not spec.containers[1].volume_mounts


def test_a_deleted_pod_has_its_grace_period(
    cluster: Cluster, jobs_namespace: str, make_node: Callable[..., FakeNode]
) -> None:
    node = make_node({"nvidia.com/gpu": "1"}, confirm_deletions=False)
    job = create(cluster, jobs_namespace, SHIPPED)
    pod = node.running(cluster.wait_for_pod(jobs_namespace, job))

    cluster.core.delete_namespaced_pod(key_of(pod).name, jobs_namespace)

    [terminating] = [each for each in cluster.pods_of(jobs_namespace, job) if key_of(each) == key_of(pod)]
    assert terminating.metadata
    assert terminating.metadata.deletion_grace_period_seconds == 30
    node.confirm_deletion(terminating)


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ("pod", "runAsNonRoot"),
        ("pod", "seccompProfile"),
        ("container", "allowPrivilegeEscalation"),
        ("container", "capabilities"),
    ],
)
def test_the_restricted_level_needs_the_field(
    cluster: Cluster, jobs_namespace: str, place: str, field: str
) -> None:
    pod: Any = {"metadata": {"name": "runner"}, "spec": deepcopy(SHIPPED["spec"]["template"]["spec"])}
    assert cluster.core.create_namespaced_pod(jobs_namespace, pod, dry_run="All").metadata
    holder = pod["spec"] if place == "pod" else pod["spec"]["containers"][0]
    del holder["securityContext"][field]

    with pytest.raises(ApiException, match=rf"violates PodSecurity .*restricted.*{field}"):
        cluster.core.create_namespaced_pod(jobs_namespace, pod, dry_run="All")


def taint(cluster: Cluster, node: FakeNode) -> None:
    taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    cluster.core.patch_node(node.name, {"spec": {"taints": taints}})


def test_a_tainted_gpu_node_takes_the_pod(cluster: Cluster, jobs_namespace: str, fake_node: FakeNode) -> None:
    taint(cluster, fake_node)
    job = create(cluster, jobs_namespace, SHIPPED)

    pod = cluster.wait_for_pod(jobs_namespace, job)

    assert pod.spec
    assert pod.spec.node_name == fake_node.name


@pytest.mark.parametrize("lacking", ["cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"])
def test_a_node_without_room_does_not_take_the_pod(
    cluster: Cluster, jobs_namespace: str, make_node: Callable[..., FakeNode], lacking: str
) -> None:
    resources = runner_of(SHIPPED)["resources"]
    assert lacking in resources["requests"] | resources["limits"]
    make_node({"nvidia.com/gpu": "1", lacking: "0"})
    job = create(cluster, jobs_namespace, SHIPPED)

    def why() -> str | None:
        for pod in cluster.pods_of(jobs_namespace, job):
            for condition in (pod.status and pod.status.conditions) or []:
                if condition.reason == "Unschedulable":
                    return condition.message
        return None

    assert f"Insufficient {lacking}" in wait_for("the pod to wait", why)
