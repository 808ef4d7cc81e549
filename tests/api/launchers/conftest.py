"""A namespace as the chart makes it, the API's ServiceAccount in it, and songs that are launched there."""

import json
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import V1Pod

from api.launchers import Observation
from api.launchers.kubernetes.client import connect
from api.launchers.kubernetes.launcher import KubernetesLauncher
from api.launchers.kubernetes.stamp import job_name, stamp
from api.launchers.kubernetes.template import load_template
from contract.job import JobSpec
from tests.testbed.cluster import Cluster, key_of
from tests.testbed.objects import role_for
from tests.testbed.waiting import wait_for

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SHIPPED = load_template(None)
API = "stemjob-api"
API_RIGHTS = {"jobs": {"create", "delete", "get", "list", "patch"}, "pods": {"list"}, "events": {"list"}}
"""All that the launcher does in a cluster."""


@pytest.fixture
def jobs_namespace(cluster: Cluster) -> Iterator[str]:
    """The name of a namespace at the restricted level, with the ServiceAccounts of API and runner."""
    name = cluster.make_namespace(labels=RESTRICTED)
    cluster.kubectl("-n", name, "create", "serviceaccount", "stemjob-runner")
    rules = [
        {"apiGroups": ["batch" if what == "jobs" else ""], "resources": [what], "verbs": sorted(verbs)}
        for what, verbs in API_RIGHTS.items()
    ]
    cluster.apply(*role_for(API, name, *rules), namespace=name)
    yield name
    cluster.remove_namespace(name)


@pytest.fixture
def api_kubeconfig(cluster: Cluster, jobs_namespace: str) -> Path:
    """A kubeconfig with the rights of the API and no others."""
    kubeconfig = cluster.kubeconfig_for(cluster.token(jobs_namespace, API))

    def allowed() -> bool:
        verdict = cluster.kubectl(
            "auth",
            "can-i",
            "list",
            "events",
            f"--as=system:serviceaccount:{jobs_namespace}:{API}",
            "-n",
            jobs_namespace,
        )
        return verdict.strip() == "yes"

    wait_for("the role to work", allowed)
    return kubeconfig


def shipped(**spec: Any) -> dict[str, Any]:
    """The template that comes with stemjob, with fields of the Job's `spec` changed."""
    template = deepcopy(SHIPPED)
    template["spec"] |= spec
    return template


def create(cluster: Cluster, namespace: str, template: dict[str, Any]) -> str:
    """Creates a stamped Job; its name."""
    spec = JobSpec(job_id=str(uuid.uuid4()), store="gs://bucket")
    body: Any = stamp(template, spec, namespace)
    cluster.batch.create_namespaced_job(namespace, body)
    return job_name(spec.job_id)


def another_pod(cluster: Cluster, namespace: str, job: str, *before: V1Pod) -> V1Pod:
    """A pod of the Job, on a node, that is none of those before."""
    known = {key_of(pod) for pod in before}

    def look() -> V1Pod | None:
        pods = [pod for pod in cluster.pods_of(namespace, job) if key_of(pod) not in known]
        return pods[0] if pods and pods[0].spec and pods[0].spec.node_name else None

    return wait_for("another pod", look, 30)


@dataclass(frozen=True)
class Song:
    """A job that was launched, and what a test wants to know of it."""

    cluster: Cluster
    launcher: KubernetesLauncher
    namespace: str
    job_id: str

    @property
    def name(self) -> str:
        return job_name(self.job_id)

    def pod(self, *before: V1Pod) -> V1Pod:
        return another_pod(self.cluster, self.namespace, self.name, *before)

    def seen(self) -> Observation:
        seen = self.launcher.observe(self.job_id)
        assert seen is not None
        return seen

    def waits(self, code: str) -> str:
        """Waits until the job waits for this; Kubernetes' words."""

        def look() -> str | None:
            seen = self.seen()
            return seen.waiting.message if seen.waiting and seen.waiting.code == code else None

        return wait_for(f"the job to wait: {code}", look)

    def end(self) -> Observation:
        """Waits until the job is finished."""
        return wait_for("the job's end", lambda: seen if (seen := self.seen()).finished else None, 40)

    def annotate(self, **annotations: str) -> None:
        body = {
            "metadata": {"annotations": {f"stemjob.dev/{key}": text for key, text in annotations.items()}}
        }
        self.cluster.batch.patch_namespaced_job(self.name, self.namespace, body)

    def annotations(self) -> dict[str, str]:
        metadata = self.cluster.batch.read_namespaced_job(self.name, self.namespace).metadata
        assert metadata
        return metadata.annotations or {}


Launch = Callable[..., Song]


@pytest.fixture
def open_launcher(
    api_kubeconfig: Path, jobs_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., KubernetesLauncher]]:
    """Opens launchers with the rights of the API and any template."""
    monkeypatch.setenv("KUBECONFIG", str(api_kubeconfig))
    opened: list[KubernetesLauncher] = []

    def start(template: dict[str, Any] = SHIPPED) -> KubernetesLauncher:
        opened.append(KubernetesLauncher(connect(jobs_namespace), template))
        return opened[-1]

    yield start
    for launcher in opened:
        launcher.close()


@pytest.fixture
def launch(cluster: Cluster, jobs_namespace: str, open_launcher: Callable[..., KubernetesLauncher]) -> Launch:
    """Launches a song with the shipped template, or with fields of its `spec` changed."""

    def start(**spec: Any) -> Song:
        launcher = open_launcher(shipped(**spec))
        song = Song(cluster, launcher, jobs_namespace, str(uuid.uuid4()))
        launcher.launch(JobSpec(job_id=song.job_id, store="gs://bucket"))
        return song

    return start


def termination_message(code: str, error: str) -> str:
    """What a runner leaves when it fails."""
    return json.dumps({"code": code, "error": error})


def wait_for_quota(cluster: Cluster, namespace: str) -> None:
    """Waits until the quota `songs` counts: until then nothing is let in, or everything."""

    def counts() -> bool:
        used = cluster.kubectl("-n", namespace, "get", "quota", "songs", "-o", "jsonpath={.status.used}")
        return "count/jobs.batch" in used

    wait_for("the quota to count", counts)
