"""A Kubernetes cluster to test against: the testbed's own, or the one that STEMJOB_TEST_KUBECONFIG names."""

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from kubernetes import client, config
from kubernetes.client import ApiClient, ApiException

from tests.testbed import binaries
from tests.testbed.control_plane import PROGRAMS, ControlPlane, Plan, start_control_plane
from tests.testbed.pki import write_kubeconfig
from tests.testbed.processes import Processes
from tests.testbed.requirements import require
from tests.testbed.waiting import wait_for

TIMEOUT = 20
"""Seconds for one request; the client itself would wait for ever."""


class Key(NamedTuple):
    """Which object of its kind."""

    namespace: str
    name: str
    uid: str


def key_of(pod: client.V1Pod | client.V1Job) -> Key:
    """The key of an object that is in the cluster."""
    metadata = pod.metadata
    assert metadata
    assert metadata.namespace
    assert metadata.name
    assert metadata.uid
    return Key(metadata.namespace, metadata.name, metadata.uid)


class Cluster:
    """A cluster and an administrator's way into it."""

    def __init__(self, kubeconfig: Path, folder: Path, control: ControlPlane | None = None) -> None:
        """Connect.

        Args:
            kubeconfig: an administrator's.
            folder: for files that live as long as the cluster.
            control: the control plane when it is the testbed's own.
        """
        self.kubeconfig = kubeconfig
        self.folder = folder
        self.control = control
        self._clients: list[ApiClient] = []
        self.api = self.client_from(kubeconfig)

    @cached_property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @cached_property
    def batch(self) -> client.BatchV1Api:
        return client.BatchV1Api(self.api)

    @cached_property
    def rbac(self) -> client.RbacAuthorizationV1Api:
        return client.RbacAuthorizationV1Api(self.api)

    @cached_property
    def admission(self) -> client.AdmissionregistrationV1Api:
        return client.AdmissionregistrationV1Api(self.api)

    @property
    def url(self) -> str:
        """The API server's address."""
        return str(self.api.configuration.host)

    def require_control(self, why: str) -> ControlPlane:
        """The control plane, for tests that fake a node or stop a server; on somebody's cluster they skip."""
        if self.control is None:
            pytest.skip(f"{why} only on the testbed's own control plane: unset STEMJOB_TEST_KUBECONFIG")
        return self.control

    def make_namespace(self, prefix: str = "test", labels: Mapping[str, str] | None = None) -> str:
        """Make a namespace in which pods can be made at once. Its name."""
        name = f"{prefix}-{uuid.uuid4().hex[:10]}"
        body: Any = {"metadata": {"name": name, "labels": dict(labels or {})}}
        self.core.create_namespace(body, _request_timeout=TIMEOUT)
        self.wait_for_service_account(name, "default")
        return name

    def remove_namespace(self, name: str) -> None:
        """Delete a namespace without waiting for its end. Pods go at once, whatever their kubelet says."""
        now: dict[str, Any] = {"grace_period_seconds": 0, "propagation_policy": "Background"}
        with suppress(ApiException):
            self.batch.delete_collection_namespaced_job(name, **now, _request_timeout=TIMEOUT)
        with suppress(ApiException):
            self.core.delete_collection_namespaced_pod(name, **now, _request_timeout=TIMEOUT)
        with suppress(ApiException):
            self.core.delete_namespace(name, _request_timeout=TIMEOUT)

    def wait_for_service_account(self, namespace: str, name: str) -> None:
        """Pods can't be made before their ServiceAccount is there."""

        def look() -> bool:
            with suppress(ApiException):
                return bool(
                    self.core.read_namespaced_service_account(name, namespace, _request_timeout=TIMEOUT)
                )
            return False

        wait_for(f"ServiceAccount {name} in {namespace}", look, timeout=60)

    def token(self, namespace: str, account: str = "default", pod: client.V1Pod | None = None) -> str:
        """A token of a ServiceAccount; bound to a pod when one is given, as kubelets mount them."""
        spec: dict[str, Any] = {"audiences": [], "expirationSeconds": 3600}
        if pod:
            key = key_of(pod)
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": key.name, "uid": key.uid}
        body: Any = {"spec": spec}
        answer = self.core.create_namespaced_service_account_token(
            account, namespace, body, _request_timeout=TIMEOUT
        )
        assert answer.status
        return str(answer.status.token)

    def kubeconfig_for(self, token: str) -> Path:
        """A kubeconfig file for whoever holds this token."""
        authority = Path(str(self.api.configuration.ssl_ca_cert))
        path = self.folder / f"{uuid.uuid4().hex}.kubeconfig"
        return write_kubeconfig(path, self.url, authority, {"token": token})

    def client_for(self, token: str) -> ApiClient:
        """A client that acts with this token."""
        return self.client_from(self.kubeconfig_for(token))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints. When it fails: CalledProcessError with `stderr`."""
        program = binaries.program("kubectl") or shutil.which("kubectl") or require("kubectl")[0]
        command = [program, "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stderr)
            raise
        return done.stdout

    def apply(self, *objects: Mapping[str, Any], namespace: str | None = None) -> None:
        """`kubectl apply` of objects given as dictionaries."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl(*(["-n", namespace] if namespace else []), "apply", "-f", "-", stdin=manifest)

    def requests_of(self, user: str) -> list[dict[str, Any]]:
        """The audit log's record of a user's requests: `verb`, `objectRef`, `responseStatus` and more.

        Only users with rights of their own are recorded, no administrator.
        """
        lines = self.require_control("the audit log is read").audit_log.read_text().splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("}")]
        return [record for record in records if record["user"].get("username") == user]

    def pods_of(self, namespace: str, job: str) -> list[client.V1Pod]:
        """The pods that were made for a Job and are still there, oldest first."""
        selector = f"batch.kubernetes.io/job-name={job}"
        pods = self.core.list_namespaced_pod(
            namespace, label_selector=selector, _request_timeout=TIMEOUT
        ).items
        return sorted(pods, key=lambda pod: str(pod.metadata and pod.metadata.creation_timestamp))

    def wait_for_pod(self, namespace: str, job: str, timeout: float = 30) -> client.V1Pod:
        """A Job's newest pod, as soon as it has a node."""

        def look() -> client.V1Pod | None:
            pods = self.pods_of(namespace, job)
            return pods[-1] if pods and pods[-1].spec and pods[-1].spec.node_name else None

        return wait_for(f"a pod of Job {job} on a node", look, timeout)

    def wait_for_end(self, namespace: str, job: str, timeout: float = 60) -> str:
        """Wait until a Job is finished. `Complete`, or the reason why it failed."""

        def look() -> str | None:
            status = self.batch.read_namespaced_job(job, namespace, _request_timeout=TIMEOUT).status
            for condition in (status.conditions if status else None) or []:
                # FailureTarget and SuccessCriteriaMet come first, while pods still end.
                if condition.status == "True" and condition.type in ("Complete", "Failed"):
                    return condition.reason if condition.type == "Failed" else "Complete"
            return None

        return wait_for(f"the end of Job {job}", look, timeout)

    def close(self) -> None:
        """Close all connections."""
        for each in self._clients:
            each.close()  # type: ignore[no-untyped-call]

    def client_from(self, kubeconfig: Path) -> ApiClient:
        """A client that acts as a kubeconfig says. Closed with the cluster."""
        settings = client.Configuration()
        config.load_kube_config(  # type: ignore[no-untyped-call]
            str(kubeconfig), client_configuration=settings, temp_file_path=str(self.folder)
        )
        api = ApiClient(settings)
        self._clients.append(api)
        return api


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """The cluster that STEMJOB_TEST_KUBECONFIG names, or else a control plane that ends with the context."""
    if named := os.environ.get("STEMJOB_TEST_KUBECONFIG"):
        if not Path(named).expanduser().is_file():
            pytest.fail(f"STEMJOB_TEST_KUBECONFIG is {named}, and there is no such file", pytrace=False)
        folder = Path(tempfile.mkdtemp(prefix="stemjob-testbed-"))
        try:
            with connected_to(Cluster(Path(named).expanduser(), folder)) as somebodys:
                yield somebodys
        finally:
            shutil.rmtree(folder)
        return
    programs = require(*PROGRAMS)
    with Processes() as processes:
        control = start_control_plane(processes, programs, Plan())
        with connected_to(Cluster(control.kubeconfig, processes.folder, control)) as own:
            yield own


C = TypeVar("C", bound=Cluster)


@contextmanager
def connected_to(cluster: C) -> Iterator[C]:
    """Wait until a cluster is of use; close its connections at the end."""
    try:
        cluster.wait_for_service_account("default", "default")  # then the controllers run, too
        yield cluster
    finally:
        cluster.close()
