"""A node without a machine: the scheduler binds pods to it, the test plays the kubelet.

Fast and exact: every failure that a kubelet can report, at the moment the test wants it, without a container.
"""

import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from kubernetes.client import ApiException, V1Pod
from urllib3.exceptions import HTTPError

from tests.testbed import pod_status
from tests.testbed.cluster import TIMEOUT, Cluster, key_of

ROOM = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}


class FakeNode:
    """A node in a cluster of the testbed. Gone when it is closed."""

    def __init__(
        self, cluster: Cluster, capacity: Mapping[str, str] | None = None, *, confirm_deletions: bool = True
    ) -> None:
        """Join the cluster.

        Args:
            capacity: what it has besides, or in place of, `ROOM`: {"nvidia.com/gpu": "1"}.
            confirm_deletions: end deleted pods as a kubelet would, in the background. Without that a deleted
                pod stays there, terminating, until `confirm_deletion` is called.
        """
        cluster.require_control("a fake node works")
        self.cluster = cluster
        self.name = f"fake-{uuid.uuid4().hex[:8]}"
        self.exit_code_on_sigterm = 143
        self.ended_seconds_ago = 0.0
        """When containers that end have ended: see `pod_status.ended`."""
        self._join({**ROOM, **(capacity or {})})
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._confirm_deletions, name=self.name, daemon=True)
        if confirm_deletions:
            self._thread.start()

    def running(self, pod: V1Pod) -> V1Pod:
        """The pod's containers run."""
        return self.report(pod, pod_status.running(pod))

    def succeeded(self, pod: V1Pod, message: str | None = None) -> V1Pod:
        """They ended with 0."""
        return self.ended(pod, 0, message=message)

    def failed(self, pod: V1Pod, exit_code: int = 1, message: str | None = None) -> V1Pod:
        """They ended with another code, leaving a termination message."""
        return self.ended(pod, exit_code, message=message)

    def oom_killed(self, pod: V1Pod) -> V1Pod:
        """The kernel killed for memory."""
        return self.ended(pod, 137, "OOMKilled")

    def ended(
        self, pod: V1Pod, exit_code: int, reason: str | None = None, message: str | None = None
    ) -> V1Pod:
        """They ended, for any reason (`ContainerCannotRun`, `DeadlineExceeded` …)."""
        return self.report(pod, pod_status.ended(pod, exit_code, reason, message, self.ended_seconds_ago))

    def evicted(self, pod: V1Pod, message: str = "", *, node_pressure: bool = False) -> V1Pod:
        """Evicted: over its own limit, or (node_pressure) because the node ran out of something."""
        message = message or (
            "The node was low on resource: memory."
            if node_pressure
            else 'Usage of EmptyDir volume "scratch" exceeds the limit "10Mi". '
        )
        return self.report(
            pod,
            pod_status.evicted(pod, message, node_pressure=node_pressure, seconds_ago=self.ended_seconds_ago),
        )

    def image_pull_back_off(self, pod: V1Pod, message: str = "") -> V1Pod:
        """The image can't be had."""
        assert pod.spec
        message = message or f'Back-off pulling image "{pod.spec.containers[0].image}"'
        return self.report(pod, pod_status.image_pull_back_off(pod, message))

    def rejected(
        self,
        pod: V1Pod,
        reason: str = "UnexpectedAdmissionError",
        message: str = "Pod was rejected: no devices",
    ) -> V1Pod:
        """The node did not take it (also `OutOfmemory`, `NodeAffinity` …)."""
        return self.report(pod, pod_status.rejected(reason, message))

    def disrupted(self, pod: V1Pod, reason: str = "PreemptionByScheduler", exit_code: int = 143) -> V1Pod:
        """Ended by a drain, a preemption or the like."""
        status = pod_status.ended(pod, exit_code, seconds_ago=self.ended_seconds_ago)
        status["conditions"].append(pod_status.disruption(reason, "made room for others"))
        return self.report(pod, status)

    def report(self, pod: V1Pod, status: Mapping[str, Any]) -> V1Pod:
        """Patch a pod's status with anything. The pod as it is afterwards."""
        key = key_of(pod)
        return self.cluster.core.patch_namespaced_pod_status(
            key.name, key.namespace, {"status": status}, _request_timeout=TIMEOUT
        )

    def confirm_deletion(self, pod: V1Pod) -> None:
        """End a deleted pod: its containers got SIGTERM and ended, the object goes."""
        assert pod.status
        if pod.status.phase in ("Pending", "Running"):
            started = pod.status.phase == "Running"
            if started:
                self.ended(pod, self.exit_code_on_sigterm)
            else:
                self.report(pod, {"phase": "Failed"})
        key = key_of(pod)
        this_one: Any = {"gracePeriodSeconds": 0, "preconditions": {"uid": key.uid}}
        self.cluster.core.delete_namespaced_pod(
            key.name, key.namespace, body=this_one, _request_timeout=TIMEOUT
        )

    def pods(self) -> list[V1Pod]:
        """All pods bound to it."""
        selector = f"spec.nodeName={self.name}"
        return self.cluster.core.list_pod_for_all_namespaces(
            field_selector=selector, _request_timeout=TIMEOUT
        ).items

    def close(self) -> None:
        """Leave the cluster."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(ApiException):
            self.cluster.core.delete_node(self.name, _request_timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _join(self, capacity: Mapping[str, str]) -> None:
        core = self.cluster.core
        node: Any = {"metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}}}
        core.create_node(node, _request_timeout=TIMEOUT)
        ready = pod_status.condition("Ready", "True") | {"reason": "KubeletReady", "message": "plays kubelet"}
        status = {"capacity": dict(capacity), "allocatable": dict(capacity), "conditions": [ready]}
        core.patch_node_status(self.name, {"status": status}, _request_timeout=TIMEOUT)
        # A new node is tainted as not ready, and the controller that would take the taint away does not run.
        core.patch_node(self.name, {"spec": {"taints": None}}, _request_timeout=TIMEOUT)

    def _confirm_deletions(self) -> None:
        while not self._closed.wait(0.2):
            # A conflict, or an API server that a test has stopped: the next round will do.
            with suppress(ApiException, HTTPError):
                for pod in self.pods():
                    if pod.metadata and pod.metadata.deletion_timestamp:
                        self.confirm_deletion(pod)
