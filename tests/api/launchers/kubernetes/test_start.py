"""What the API needs to start with the Kubernetes launcher, and the rights it needs then."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from api.launchers import LauncherUnavailable
from api.launchers.kubernetes.launcher import KubernetesLauncher, open_kubernetes_launcher
from api.settings import ApiSettings
from api.wiring import open_launcher as open_launcher_of
from tests.api.launchers.conftest import API, API_RIGHTS, Launch, Song
from tests.testbed.cluster import Cluster
from tests.testbed.fake_node import FakeNode

OpenLauncher = Callable[..., KubernetesLauncher]


def test_a_namespace_without_rights_is_unavailable_and_no_unknown_job(
    cluster: Cluster, api_kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api_kubeconfig))
    launcher = open_kubernetes_launcher("default", None)

    with pytest.raises(LauncherUnavailable, match="does not let the API look after its jobs"):
        launcher.observe(str(uuid.uuid4()))
    launcher.close()


def test_without_a_way_into_a_cluster_the_api_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))

    with pytest.raises(ValueError, match="no way into a cluster"):
        open_launcher_of(ApiSettings(launcher="kubernetes"))


def test_a_typo_in_the_template_keeps_the_api_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("apiVersion: batch/v1\nkind: Job\nspec: {backofLimit: 1}\n")

    with pytest.raises(ValueError, match=r"spec\.backofLimit: Kubernetes knows no such field"):
        open_launcher_of(ApiSettings(launcher="kubernetes", job_template=str(path)))


def test_the_launcher_needs_exactly_the_rights_that_its_role_gives(
    cluster: Cluster, launch: Launch, make_node: Callable[..., FakeNode]
) -> None:
    cluster.require_control("the audit log is read")
    song: Song = launch(activeDeadlineSeconds=3)  # no node yet: the pod waits, and the reason is kept
    song.waits("unschedulable")
    other = launch(suspend=True)
    other.waits("suspended")
    cluster.kubectl("-n", song.namespace, "delete", "serviceaccount", "stemjob-runner")
    launch().waits("pod_forbidden")
    song.end()
    list(song.launcher.finished())
    song.launcher.forget(song.job_id)
    song.launcher.delete(song.job_id)

    records = cluster.requests_of(f"system:serviceaccount:{song.namespace}:{API}")
    used: dict[str, set[str]] = {}
    for record in records:
        used.setdefault(record["objectRef"]["resource"], set()).add(record["verb"])

    assert used == API_RIGHTS
    assert {record["responseStatus"]["code"] for record in records} <= {200, 201}
