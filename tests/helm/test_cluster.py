"""The chart in a real control plane: what it takes, and what works once it is installed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiException, BatchV1Api

from tests.api.conftest import Server
from tests.audio import song
from tests.helm.chart import EXAMPLES, REPOSITORY, Helm
from tests.helm.release import RESTRICTED, Release, released, uploaded
from tests.k8s.site import MERGE_PATCH
from tests.testbed import objects
from tests.testbed.cluster import Cluster, key_of
from tests.testbed.gcs import GcsServer
from tests.testbed.waiting import wait_for

SERVICE_MONITOR = Path(__file__).with_name("servicemonitor-crd.json")


@pytest.fixture(scope="module")
def places(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Two namespaces at the restricted level, in place of those that examples name."""
    cluster.kubectl("apply", "--server-side", "-f", str(SERVICE_MONITOR))
    names = {name: cluster.make_namespace(name, RESTRICTED) for name in ("release", "jobs")}
    yield names
    for name in names.values():
        cluster.remove_namespace(name)
    cluster.kubectl("delete", "-f", str(SERVICE_MONITOR), "--wait=false")


def inside(places: dict[str, str]) -> dict[str, Any]:
    """Values by which an example stays in these namespaces."""
    return {"jobs": {"namespace": places["jobs"]}}


def dry_run(cluster: Cluster, text: str) -> None:
    """The API server looks at manifests as if they were applied. Raises subprocess.CalledProcessError."""
    strictly = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    cluster.kubectl("apply", *strictly, "-f", "-", stdin=text)


def test_the_api_server_takes_every_example_without_a_warning(
    helm: Helm, cluster: Cluster, places: dict[str, str], example: Path | None
) -> None:
    text = helm.template(example, values=inside(places), namespace=places["release"])
    dry_run(cluster, text)


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("readinessProbe:", "readinesProbe:", "unknown field"),
        ("interval: 30s", "interval: often", "spec.endpoints[0].interval"),
        ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "would violate PodSecurity"),
    ],
)
def test_the_api_server_would_have_seen_a_mistake(
    helm: Helm, cluster: Cluster, places: dict[str, str], right: str, wrong: str, says: str
) -> None:
    text = helm.template(EXAMPLES["everything"], values=inside(places), namespace=places["release"])
    with pytest.raises(subprocess.CalledProcessError) as refused:
        dry_run(cluster, text.replace(right, wrong))

    assert says in refused.value.stderr


@pytest.fixture(scope="module")
def release(
    helm: Helm, cluster: Cluster, gcs_server: GcsServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """The chart with its defaults and a bucket, in force."""
    with released(helm, cluster, tmp_path_factory.mktemp("release")) as release:
        release.install(bucket=gcs_server.make_bucket())
        yield release


@pytest.fixture(scope="module")
def server(release: Release, gcs_server: GcsServer) -> Iterator[Server]:
    """The API of the release."""
    server = release.api(STORAGE_EMULATOR_HOST=gcs_server.url).start()
    try:
        with server.client() as client:
            wait_for("the API to be ready", lambda: client.get("/ready").status_code == 200, 30)
        yield server
    finally:
        server.stop()


def test_the_installed_api_makes_a_job_whose_runner_may_report(
    release: Release, cluster: Cluster, server: Server
) -> None:
    answer = uploaded(server, "song.wav", song(0.5))
    assert answer.status_code == 200, answer.text
    name = f"stemjob-{answer.json()['job_id']}"
    [pod] = wait_for("the runner's pod", lambda: cluster.pods_of(release.jobs, name))
    runner = BatchV1Api(cluster.client_for(cluster.token(release.jobs, "stemjob-runner", pod)))
    report: Any = {"metadata": {"annotations": {"stemjob.dev/progress": "0.500"}}}

    runner.patch_namespaced_job(name, release.jobs, report, _content_type=MERGE_PATCH)

    with server.client() as client:
        assert client.get(f"/job/{answer.json()['job_id']}").json()["status"] == "processing"
    annotations = json.loads(cluster.kubectl("-n", release.jobs, "get", "job", name, "-o", "json"))[
        "metadata"
    ]
    assert annotations["annotations"]["stemjob.dev/progress"] == "0.500"


def test_the_installed_policies_hold_the_api_back(release: Release, cluster: Cluster) -> None:
    token = cluster.token(release.namespace, "stemjob-api", release.pods("api", 2)[0])
    api = BatchV1Api(cluster.client_for(token))
    stranger: Any = objects.job("stranger")

    def refusal() -> str:
        try:
            api.create_namespaced_job(release.jobs, stranger, dry_run="All")
        except ApiException as error:
            return str(error.body)
        return ""

    wait_for("the policy to be in force", lambda: "only Jobs of stemjob" in refusal())


def test_the_sweep_as_its_pod_runs_it_makes_a_job_that_is_missing(
    release: Release, cluster: Cluster, server: Server, gcs_server: GcsServer
) -> None:
    name = f"stemjob-{uploaded(server, 'song.wav', song(0.5)).json()['job_id']}"
    cluster.kubectl("-n", release.jobs, "delete", "job", name)

    cluster.kubectl("-n", release.namespace, "create", "job", "now", "--from=cronjob/stemjob-sweep")
    [pod] = wait_for("the sweep's pod", lambda: cluster.pods_of(release.namespace, "now"))
    [container] = release.manifests().sweep_pod["containers"]
    python, *arguments = container["command"]
    assert python == "python"
    told = release.told(container, pod) | {
        "STORAGE_EMULATOR_HOST": gcs_server.url,
        "PATH": os.environ["PATH"],
    }
    subprocess.run([sys.executable, *arguments], env=told, cwd=REPOSITORY, check=True, timeout=60)

    assert cluster.batch.read_namespaced_job(name, release.jobs).metadata


def test_an_upgrade_changes_template_and_policy_and_rolls_the_api(release: Release, cluster: Cluster) -> None:
    before = {key_of(pod) for pod in release.pods("api", 2)}

    release.upgrade(runner={"image": {"tag": "2"}})

    installed = release.manifests()
    assert installed.runner["image"] == "stemjob-runner:2"
    assert "['stemjob-runner:2']" in str(installed.of("ValidatingAdmissionPolicy"))
    wait_for(
        "a new pod of the API",
        lambda: (
            {
                key_of(pod)
                for pod in cluster.core.list_namespaced_pod(
                    release.namespace, label_selector="app.kubernetes.io/component=api"
                ).items
            }
            - before
        ),
    )


def test_an_uninstall_leaves_nothing_but_the_jobs(release: Release, cluster: Cluster) -> None:
    song_of_somebody: Any = objects.job("stemjob-of-somebody")
    cluster.batch.create_namespaced_job(release.jobs, song_of_somebody)
    assert len(release.left()) > 10

    release.uninstall()

    assert release.left() == []
    assert cluster.batch.read_namespaced_job("stemjob-of-somebody", release.jobs).metadata


@pytest.mark.usefixtures("stemjob_namespace")
def test_the_plain_manifests_can_be_applied_and_make_pods(cluster: Cluster) -> None:
    folder = str(REPOSITORY / "k8s")

    cluster.kubectl("apply", "-k", folder)

    wait_for("two pods of the API", lambda: len(cluster.core.list_namespaced_pod("stemjob").items) == 2, 30)
    assert cluster.kubectl("apply", "-k", folder).count("unchanged") > 10
