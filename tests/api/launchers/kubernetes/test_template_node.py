"""What of the shipped template only a kubelet acts on, on a real node."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from api.launchers import Observation
from api.launchers.kubernetes.client import connect
from api.launchers.kubernetes.launcher import KubernetesLauncher
from contract.job import JobSpec
from tests.api.launchers.conftest import RESTRICTED, shipped
from tests.testbed.node import NodeCluster
from tests.testbed.waiting import wait_for

SAY_WHERE_I_AM = """
id -u; id -g; stat -c %g /scratch
touch /scratch/mine && echo can write to work
touch /mine 2>/dev/null || echo cannot write to the root
echo $HOME $TMPDIR $XDG_CACHE_HOME $STEMJOB_WORK_DIR $STEMJOB_DEVICE
echo ${WEB_SERVICE_HOST:-no links to Services}
cd /var/run/secrets/kubernetes.io/serviceaccount
cat namespace; echo
test -s token && head -n 1 ca.crt
echo $STEMJOB_JOB_REPORT
exit 65
"""
EAT_MEMORY = "tail /dev/zero"


@pytest.fixture
def songs(node_cluster: NodeCluster) -> Iterator[str]:
    """The name of a namespace at the restricted level, on a node that says it has a GPU."""
    node_cluster.pretend_gpus(1)
    name = node_cluster.make_namespace(labels=RESTRICTED)
    node_cluster.kubectl("-n", name, "create", "serviceaccount", "stemjob-runner")
    yield name
    node_cluster.remove_namespace(name)


def run(cluster: NodeCluster, namespace: str, script: str, monkeypatch: pytest.MonkeyPatch) -> Observation:
    """A song whose runner is a shell script; small enough for any machine, and tried once."""
    template = shipped(backoffLimit=0)
    [container] = template["spec"]["template"]["spec"]["containers"]
    container |= {"image": cluster.busybox_image, "command": ["sh", "-c", script]}
    room: dict[str, Any] = {"memory": "32Mi", "ephemeral-storage": "50Mi"}
    container["resources"] = {"limits": room | {"nvidia.com/gpu": "1"}}
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    launcher = KubernetesLauncher(connect(namespace), template)
    spec = JobSpec(job_id=str(uuid.uuid4()), store="gs://bucket")
    launcher.launch(spec)

    def look() -> Observation | None:
        seen = launcher.observe(spec.job_id)
        return seen if seen and seen.finished else None

    try:
        return wait_for("the end of the song", look, 60)
    finally:
        launcher.close()


def test_a_runner_finds_what_the_template_promises(
    node_cluster: NodeCluster, songs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_cluster.kubectl("-n", songs, "create", "service", "clusterip", "web", "--tcp=80")

    run(node_cluster, songs, SAY_WHERE_I_AM, monkeypatch)

    [pod] = node_cluster.core.list_namespaced_pod(songs).items
    assert pod.metadata
    assert pod.metadata.name
    assert pod.status
    assert pod.status.container_statuses
    state = pod.status.container_statuses[0].state
    assert state
    assert state.terminated
    log = node_cluster.core.read_namespaced_pod_log(pod.metadata.name, songs)
    assert log.splitlines() == [
        "10001",
        "10001",
        "10001",
        "can write to work",
        "cannot write to the root",
        "/scratch /scratch /scratch/cache /scratch auto",
        "no links to Services",
        songs,
        "-----BEGIN CERTIFICATE-----",
        f"kubernetes://{songs}/{(pod.metadata.labels or {})['batch.kubernetes.io/job-name']}",
    ]
    assert state.terminated.message == log  # of a runner that left no word of its own


def test_a_runner_that_really_takes_too_much_memory_is_oom_killed(
    node_cluster: NodeCluster, songs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = run(node_cluster, songs, EAT_MEMORY, monkeypatch)

    assert seen.failure is not None
    assert seen.failure.code == "oom_killed"
