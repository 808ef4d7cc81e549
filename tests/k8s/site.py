"""A namespace in which the manifests of `k8s/` are in force, and runners' pods in it."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from kubernetes.client import ApiClient, ApiException, BatchV1Api, V1Job, V1Pod

from tests.testbed import objects
from tests.testbed.cluster import Cluster
from tests.testbed.waiting import wait_for

K8S = Path(__file__).parents[2] / "k8s"
RUNNER, API = "stemjob-runner", "stemjob-api"
RUNNER_IMAGE = "stemjob-runner:1.0.0"
MERGE_PATCH = "application/merge-patch+json"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}


def manifests(name: str, namespace: str) -> list[dict[str, Any]]:
    """The objects in a file of `k8s/`, moved to another namespace; what belongs to none gets its name."""

    def moved(value: Any) -> Any:
        match value:
            case "stemjob":
                return namespace
            case str():
                return value.replace("serviceaccount:stemjob:", f"serviceaccount:{namespace}:")
            case dict():
                return {key: moved(each) for key, each in value.items()}
            case list():
                return [moved(each) for each in value]
        return value

    made: list[dict[str, Any]] = [moved(each) for each in yaml.safe_load_all((K8S / name).read_text())]
    for each in made:
        if each["kind"].startswith("ValidatingAdmissionPolicy"):
            each["metadata"]["name"] += f"-{namespace}"
            if "policyName" in each["spec"]:
                each["spec"]["policyName"] += f"-{namespace}"
    return made


class Site:
    """The namespace. Jobs are made by an administrator, unless a test acts as the API."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def job(self, name: str = "", **spec: Any) -> dict[str, Any]:
        """What the API would make, by default under a name of its own."""
        made = objects.job(
            name or f"stemjob-{uuid.uuid4()}",
            objects.container(RUNNER_IMAGE),
            pod_spec={"serviceAccountName": RUNNER},
            **spec,
        )
        made["metadata"]["labels"] = {
            "app.kubernetes.io/managed-by": "stemjob-api",
            "stemjob.dev/stage": "queued",
        }
        return made

    def start(self, job: dict[str, Any], pods: int = 1) -> list["Runner"]:
        """Makes a Job and waits for its pods."""
        body: Any = job
        self.cluster.batch.create_namespaced_job(self.namespace, body)
        name = str(job["metadata"]["name"])

        def look() -> list[V1Pod]:
            found = self.cluster.pods_of(self.namespace, name)
            return found if len(found) == pods else []

        return [Runner(self, name, pod) for pod in wait_for(f"{pods} pods of {name}", look)]

    def start_one(self) -> "Runner":
        """Makes a Job with one pod."""
        [runner] = self.start(self.job())
        return runner

    def start_two(self) -> list["Runner"]:
        """Makes a Job that has two pods at once, as one with a retry may have for a moment."""
        return self.start(self.job(parallelism=2, completions=2), pods=2)

    def read(self, name: str) -> V1Job:
        """The Job as it is now."""
        return self.cluster.batch.read_namespaced_job(name, self.namespace)

    def annotations(self, name: str) -> dict[str, str]:
        """A Job's annotations."""
        metadata = self.read(name).metadata
        assert metadata
        return metadata.annotations or {}

    def stage(self, name: str) -> str:
        """A Job's stage label."""
        metadata = self.read(name).metadata
        assert metadata
        return (metadata.labels or {})["stemjob.dev/stage"]

    def kubeconfig(self, account: str, pod: V1Pod | None = None) -> Path:
        """A kubeconfig that acts as an account, with a token bound to the pod if there is one."""
        return self.cluster.kubeconfig_for(self.cluster.token(self.namespace, account, pod))

    def acting(self, account: str, pod: V1Pod | None = None) -> ApiClient:
        """The same as a client."""
        return self.cluster.client_from(self.kubeconfig(account, pod))

    def answer(self, request: Any) -> tuple[int, str]:
        """What the API server says to a request: status and sentence."""
        try:
            request()
        except ApiException as error:
            return int(error.status or 0), str(error.body)
        return 200, ""


class Runner:
    """A pod of a Job, and what the API server says to it. Without a pod: somebody who stole an account."""

    def __init__(self, site: Site, job: str, pod: V1Pod | None) -> None:
        self.site, self.job, self.pod = site, job, pod

    @cached_property
    def kubeconfig(self) -> Path:
        """A kubeconfig with the token of this pod."""
        return self.site.kubeconfig(RUNNER, self.pod)

    @cached_property
    def api(self) -> BatchV1Api:
        """A client with it."""
        return BatchV1Api(self.site.cluster.client_from(self.kubeconfig))

    @property
    def url(self) -> str:
        """Where it reports."""
        return f"kubernetes://{self.site.namespace}/{self.job}"

    def shows(self, progress: float) -> None:
        """Waits until its Job says how far it is."""
        text = f"{progress:.3f}"
        wait_for(
            f"progress {text}",
            lambda: self.site.annotations(self.job).get("stemjob.dev/progress") == text,
        )

    def patches(self, body: Any, *, job: str = "", **more: Any) -> tuple[int, str]:
        """Status and sentence of the answer when it patches its own Job, or another."""
        return self.site.answer(lambda: patch(self.api, self.site, job or self.job, body, **more))


@contextmanager
def running_site(cluster: Cluster, files: Sequence[str]) -> Iterator[Site]:
    """Applies files of `k8s/` in a namespace of their own and waits until they are in force."""
    site = Site(cluster, cluster.make_namespace("site", RESTRICTED))
    made = [each for name in files for each in manifests(name, site.namespace)]
    scoped = [each for each in made if each["kind"].startswith("ValidatingAdmissionPolicy")]
    try:
        cluster.apply(*made)
        if scoped:
            _wait_for_policies(site)
        yield site
    finally:
        for each in scoped:
            cluster.kubectl("delete", each["kind"], each["metadata"]["name"], "--wait=false")
        cluster.remove_namespace(site.namespace)


def _wait_for_policies(site: Site) -> None:
    """A policy works a moment after it was made, a Role too."""
    runner = site.start_one()
    unbound = Runner(site, runner.job, None)
    api = BatchV1Api(site.acting(API))
    stranger: Any = objects.job("stranger")

    def in_force() -> bool:
        create = site.answer(lambda: api.create_namespaced_job(site.namespace, stranger, dry_run="All"))
        return (
            "not bound to a pod" in unbound.patches({})[1]
            and runner.patches({})[0] == 200
            and "only Jobs of stemjob" in create[1]
        )

    wait_for("the policies to be in force", in_force)
    site.cluster.batch.delete_namespaced_job(runner.job, site.namespace, propagation_policy="Background")


def patch(
    api: BatchV1Api, site: Site, name: str, body: Any, content_type: str = MERGE_PATCH, **more: Any
) -> object:
    """One patch of a Job."""
    return api.patch_namespaced_job(name, site.namespace, body, _content_type=content_type, **more)
