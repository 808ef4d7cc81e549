"""What the API may do in the cluster: exactly what it does, and only with Jobs of stemjob."""

import uuid
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import BatchV1Api

from api.launchers.kubernetes.client import ClusterClient
from api.launchers.kubernetes.diagnosis import DIAGNOSIS
from api.launchers.kubernetes.launcher import RECORDED_LABEL, KubernetesLauncher
from api.launchers.kubernetes.stamp import stamp
from api.launchers.kubernetes.template import load_template
from contract.job import JobSpec
from tests.k8s.site import API, MERGE_PATCH, Site, manifests, patch, running_site
from tests.testbed import objects
from tests.testbed.cluster import Cluster
from tests.testbed.waiting import wait_for


@pytest.fixture(scope="module")
def api(site: Site) -> BatchV1Api:
    return BatchV1Api(site.acting(API))


def new_id() -> str:
    return str(uuid.uuid4())


def shipped(site: Site, job_id: str = "") -> dict[str, Any]:
    """The Job that the API makes of the template as it is shipped."""
    spec = JobSpec(job_id=job_id or new_id(), store="gs://songs/stemjob")
    return stamp(load_template(None), spec, site.namespace)


def creates(site: Site, api: BatchV1Api, job: Any) -> tuple[int, str]:
    return site.answer(lambda: api.create_namespaced_job(site.namespace, job))


def test_the_job_as_shipped_is_accepted_and_its_pod_satisfies_the_restricted_level(
    site: Site, api: BatchV1Api
) -> None:
    job = shipped(site)
    assert creates(site, api, job) == (200, "")
    [pod] = wait_for("a pod", lambda: site.cluster.pods_of(site.namespace, job["metadata"]["name"]))
    assert pod.spec
    assert pod.spec.service_account_name == "stemjob-runner"


def test_the_runner_of_the_job_as_shipped_may_report(site: Site) -> None:
    assert site.start(shipped(site))[0].patches({}) == (200, "")


def with_account(pod: dict[str, Any]) -> None:
    pod["serviceAccountName"] = "default"


def without_account(pod: dict[str, Any]) -> None:
    del pod["serviceAccountName"]


def with_image(pod: dict[str, Any]) -> None:
    pod["containers"][0]["image"] = "miner:1.0.0"


def with_sidecar(pod: dict[str, Any]) -> None:
    pod["containers"].append({**pod["containers"][0], "name": "second", "image": "miner:1.0.0"})


def with_preparation(pod: dict[str, Any]) -> None:
    pod["initContainers"] = [{**pod["containers"][0], "name": "first", "image": "miner:1.0.0"}]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_account, "runs as the ServiceAccount stemjob-runner"),
        (without_account, "runs as the ServiceAccount stemjob-runner"),
        (with_image, "runs no image but the runner's"),
        (with_sidecar, "runs no image but the runner's"),
        (with_preparation, "runs no image but the runner's"),
    ],
)
def test_the_api_makes_jobs_for_runners_only(site: Site, api: BatchV1Api, change: Any, sentence: str) -> None:
    job = shipped(site)
    change(job["spec"]["template"]["spec"])
    status, said = creates(site, api, job)
    assert status == 403
    assert sentence in said


@pytest.mark.parametrize("change", [{"name": "backup"}, {"labels": {"app": "backup"}}])
def test_the_api_makes_no_job_that_does_not_look_like_its_own(
    site: Site, api: BatchV1Api, change: dict[str, Any]
) -> None:
    job = shipped(site)
    job["metadata"] |= change
    status, said = creates(site, api, job)
    assert status == 403
    assert "only Jobs of stemjob" in said


@pytest.mark.parametrize(
    "metadata", [{"annotations": {DIAGNOSIS: "{}"}}, {"labels": {RECORDED_LABEL: "true"}}]
)
def test_the_api_may_leave_its_notes_on_a_job(site: Site, api: BatchV1Api, metadata: dict[str, Any]) -> None:
    runner = site.start_one()
    assert site.answer(lambda: patch(api, site, runner.job, {"metadata": metadata})) == (200, "")


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"annotations": {"stemjob.dev/progress": "1"}}},
        {"metadata": {"annotations": {"kubernetes.io/description": "mine"}}},
        {"metadata": {"labels": {"stemjob.dev/stage": "completed"}}},
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
        {"metadata": {"finalizers": ["example.org/held"]}},
        {"spec": {"suspend": True}},
        {"spec": {"activeDeadlineSeconds": 1}},
    ],
)
def test_the_api_may_change_nothing_else_of_a_job(site: Site, api: BatchV1Api, body: Any) -> None:
    runner = site.start_one()
    assert site.answer(lambda: patch(api, site, runner.job, body))[0] == 403


def test_the_api_may_delete_its_jobs_with_their_pods(site: Site, api: BatchV1Api) -> None:
    runner = site.start_one()
    launcher = KubernetesLauncher(ClusterClient(api.api_client, site.namespace), {})

    launcher.delete(runner.job.removeprefix("stemjob-"))

    wait_for("its pods to go", lambda: not site.cluster.pods_of(site.namespace, runner.job))
    assert site.answer(lambda: site.read(runner.job))[0] == 404


def test_jobs_of_others_are_none_of_the_api_s_business(site: Site, api: BatchV1Api) -> None:
    backup: Any = objects.job("backup", suspend=True)
    site.cluster.batch.create_namespaced_job(site.namespace, backup)
    body = {"metadata": {"annotations": {DIAGNOSIS: "{}"}}}
    assert site.answer(lambda: patch(api, site, "backup", body))[0] == 403
    assert site.answer(lambda: api.delete_namespaced_job("backup", site.namespace))[0] == 403


def test_the_api_reads_no_secret_no_log_and_no_other_namespace(site: Site, api: BatchV1Api) -> None:
    core, namespace = client.CoreV1Api(api.api_client), site.namespace
    for request in (
        lambda: core.list_namespaced_secret(namespace),
        lambda: core.list_namespaced_config_map(namespace),
        lambda: core.read_namespaced_pod_log("any", namespace),
        lambda: core.delete_namespaced_pod("any", namespace),
        lambda: api.patch_namespaced_job_status("any", namespace, {}, _content_type=MERGE_PATCH),
        lambda: api.list_namespaced_job("default"),
        lambda: api.list_job_for_all_namespaces(),
    ):
        assert site.answer(request)[0] == 403


@pytest.fixture(scope="module")
def other_site(cluster: Cluster) -> Iterator[Site]:
    """A namespace in which nothing but the launcher has acted as the API."""
    with running_site(cluster, ["runner-rbac.yaml", "api-rbac.yaml"]) as running:
        yield running


def test_the_role_has_exactly_the_verbs_that_the_launcher_uses(other_site: Site) -> None:
    """Everything that the launcher can do is done; the API server's own record tells what that took."""
    site, template = other_site, load_template(None)
    api = BatchV1Api(site.acting(API))
    wait_for("the role", lambda: site.answer(lambda: api.list_namespaced_job(site.namespace))[0] == 200)
    forbidden = deepcopy(template)
    forbidden["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {}
    for each, job_id in ((template, new_id()), (forbidden, hidden := new_id())):
        launcher = KubernetesLauncher(ClusterClient(site.acting(API), site.namespace), each)
        spec = JobSpec(job_id=job_id, store="gs://songs/stemjob")
        launcher.launch(spec)
        launcher.observe(job_id)
        list(launcher.finished())
        launcher.forget(job_id)

    def waits() -> str | None:
        seen = launcher.observe(hidden)
        return seen.waiting.code if seen and seen.waiting else None

    wait_for("the refusal of a pod", lambda: waits() == "pod_forbidden")
    launcher.delete(hidden)
    user = f"system:serviceaccount:{site.namespace}:{API}"
    used = {(request["verb"], request["objectRef"]["resource"]) for request in site.cluster.requests_of(user)}
    [role] = [each for each in manifests("api-rbac.yaml", site.namespace) if each["kind"] == "Role"]
    allowed = {(verb, kind) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}
    assert used == allowed
