"""What Kubernetes makes of what a kubelet reports: the real Job controller, and a kubelet that is played."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.client import ApiException, V1ContainerStateTerminated, V1Pod

from tests.testbed.cluster import Cluster, key_of
from tests.testbed.fake_node import FakeNode
from tests.testbed.objects import container, job
from tests.testbed.waiting import wait_for

GPU = container(resources={"limits": {"nvidia.com/gpu": "1"}})


def start(cluster: Cluster, namespace: str, *containers: dict[str, Any], **spec: Any) -> V1Pod:
    """Make the Job `song` and wait for its pod to have a node."""
    body: Any = job("song", *containers, **spec)
    cluster.batch.create_namespaced_job(namespace, body)
    return cluster.wait_for_pod(namespace, "song")


def terminated(pod: V1Pod) -> V1ContainerStateTerminated:
    """How a pod's container ended."""
    assert pod.status
    assert pod.status.container_statuses
    state = pod.status.container_statuses[0].state
    assert state
    assert state.terminated
    return state.terminated


def test_a_job_completes_when_its_pod_succeeds(cluster: Cluster, namespace: str, fake_node: FakeNode) -> None:
    pod = start(cluster, namespace, GPU)
    assert pod.spec
    assert pod.spec.node_name == fake_node.name
    fake_node.running(pod)
    running = cluster.batch.read_namespaced_job("song", namespace).status
    assert running
    assert running.active == 1

    fake_node.succeeded(pod, message="nine tracks")

    assert cluster.wait_for_end(namespace, "song") == "Complete"
    assert terminated(cluster.pods_of(namespace, "song")[0]).message == "nine tracks"


def test_the_job_hides_that_memory_ran_out_and_the_pod_tells(
    cluster: Cluster, namespace: str, fake_node: FakeNode
) -> None:
    fake_node.oom_killed(start(cluster, namespace))

    assert cluster.wait_for_end(namespace, "song") == "BackoffLimitExceeded"
    end = terminated(cluster.pods_of(namespace, "song")[0])
    assert (end.exit_code, end.reason) == (137, "OOMKilled")


def test_a_permanent_exit_code_fails_the_job_without_another_try(
    cluster: Cluster, namespace: str, fake_node: FakeNode
) -> None:
    on_65 = {"containerName": "runner", "operator": "In", "values": [65]}
    policy = {"rules": [{"action": "FailJob", "onExitCodes": on_65}]}
    pod = start(cluster, namespace, backoffLimit=2, podFailurePolicy=policy)

    fake_node.failed(pod, 65, message="not a song")

    assert cluster.wait_for_end(namespace, "song") == "PodFailurePolicy"
    assert terminated(cluster.pods_of(namespace, "song")[0]).message == "not a song"


def test_a_disruption_costs_no_try(cluster: Cluster, namespace: str, fake_node: FakeNode) -> None:
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    fake_node.ended_seconds_ago = 600
    first = start(cluster, namespace, podFailurePolicy=policy)

    fake_node.disrupted(first)

    second = wait_for("another pod", lambda: another_pod(cluster, namespace, first))
    fake_node.succeeded(second)
    assert cluster.wait_for_end(namespace, "song") == "Complete"
    status = cluster.batch.read_namespaced_job("song", namespace).status
    assert status
    assert not status.failed


def another_pod(cluster: Cluster, namespace: str, first: V1Pod) -> V1Pod | None:
    """A pod of the Job that is not the first one."""
    others = [pod for pod in cluster.pods_of(namespace, "song") if key_of(pod) != key_of(first)]
    return others[0] if others else None


@pytest.mark.parametrize("node_pressure", [False, True])
def test_an_eviction_names_its_cause(
    cluster: Cluster, namespace: str, fake_node: FakeNode, node_pressure: bool
) -> None:
    pod = fake_node.evicted(start(cluster, namespace), node_pressure=node_pressure)

    assert cluster.wait_for_end(namespace, "song") == "BackoffLimitExceeded"
    assert pod.status
    assert (pod.status.phase, pod.status.reason) == ("Failed", "Evicted")
    conditions = {condition.type for condition in pod.status.conditions or []}
    assert ("DisruptionTarget" in conditions) == node_pressure


def test_a_missing_image_leaves_the_job_active(cluster: Cluster, namespace: str, fake_node: FakeNode) -> None:
    pod = fake_node.image_pull_back_off(start(cluster, namespace))

    assert pod.status
    assert pod.status.container_statuses
    state = pod.status.container_statuses[0].state
    assert state
    assert state.waiting
    assert state.waiting.reason == "ImagePullBackOff"
    status = cluster.batch.read_namespaced_job("song", namespace).status
    assert status
    assert status.active == 1
    assert not status.conditions


def test_a_pod_that_the_node_rejects_never_had_a_container(
    cluster: Cluster, namespace: str, fake_node: FakeNode
) -> None:
    pod = fake_node.rejected(
        start(cluster, namespace), "OutOfmemory", "Node didn't have enough resource: memory"
    )

    assert cluster.wait_for_end(namespace, "song") == "BackoffLimitExceeded"
    assert pod.status
    assert pod.status.reason == "OutOfmemory"
    assert not pod.status.container_statuses


def test_without_a_gpu_a_pod_waits_and_says_why(
    cluster: Cluster, namespace: str, make_node: Callable[..., FakeNode]
) -> None:
    make_node()
    body: Any = job("song", GPU)
    cluster.batch.create_namespaced_job(namespace, body)

    def look() -> str | None:
        for pod in cluster.pods_of(namespace, "song"):
            for condition in (pod.status and pod.status.conditions) or []:
                if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
                    return condition.message
        return None

    assert "Insufficient nvidia.com/gpu" in wait_for("the pod to be unschedulable", look)


def test_a_deleted_pod_ends_and_the_job_counts_it_as_failed(
    cluster: Cluster, namespace: str, fake_node: FakeNode
) -> None:
    pod = fake_node.running(start(cluster, namespace))

    cluster.core.delete_namespaced_pod(key_of(pod).name, namespace)

    assert cluster.wait_for_end(namespace, "song") == "BackoffLimitExceeded"
    wait_for("the pod to be gone", lambda: not cluster.pods_of(namespace, "song"))


def test_unconfirmed_a_deleted_pod_goes_on_terminating(
    cluster: Cluster, namespace: str, make_node: Callable[..., FakeNode]
) -> None:
    node = make_node(confirm_deletions=False)
    pod = node.running(start(cluster, namespace))
    cluster.core.delete_namespaced_pod(key_of(pod).name, namespace)
    [terminating] = cluster.pods_of(namespace, "song")
    assert terminating.metadata
    assert terminating.metadata.deletion_timestamp

    node.confirm_deletion(terminating)

    wait_for("the pod to be gone", lambda: not cluster.pods_of(namespace, "song"))


def test_deleting_a_job_takes_its_pods_along(cluster: Cluster, namespace: str, fake_node: FakeNode) -> None:
    fake_node.running(start(cluster, namespace))

    cluster.batch.delete_namespaced_job("song", namespace, propagation_policy="Background")

    wait_for("the pod to be gone", lambda: not cluster.pods_of(namespace, "song"))


def test_a_finished_job_is_removed_when_its_time_is_up(
    cluster: Cluster, namespace: str, fake_node: FakeNode
) -> None:
    fake_node.succeeded(start(cluster, namespace, ttlSecondsAfterFinished=1))

    def gone() -> bool:
        try:
            cluster.batch.read_namespaced_job("song", namespace)
        except ApiException as error:
            return bool(error.status == 404)
        return False

    wait_for("the Job to be removed", gone)
