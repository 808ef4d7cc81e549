"""On the real node containers run, Services answer, names resolve; the machine is left as it was found."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.testbed import machine, objects
from tests.testbed.cluster import key_of
from tests.testbed.images import write_image
from tests.testbed.node import NodeCluster
from tests.testbed.requirements import require_node
from tests.testbed.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
SERVER = ["sh", "-c", "while true; do printf 'nine tracks\\n' | nc -l -p 8080; done"]


def run_job(cluster: NodeCluster, namespace: str, script: str, **container: Any) -> tuple[str, str]:
    """Run a shell script as a Job: how the Job ended, and its log."""
    made = objects.container(container.pop("image", cluster.busybox_image), ["sh", "-c", script], **container)
    body: Any = objects.job("song", made)
    cluster.batch.create_namespaced_job(namespace, body)
    end = cluster.wait_for_end(namespace, "song")
    pod = key_of(cluster.pods_of(namespace, "song")[0])
    return end, cluster.core.read_namespaced_pod_log(pod.name, namespace)


def serve(cluster: NodeCluster, namespace: str) -> str:
    """Start a pod behind the Service `web` and give the Service's address."""
    server = objects.container(cluster.busybox_image, SERVER, readinessProbe={"tcpSocket": {"port": 8080}})
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    cluster.apply(objects.pod("web", server), service, namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
    return cluster.kubectl("-n", namespace, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")


def said_by(address: tuple[str, int]) -> str | None:
    """What a server says to whoever connects."""
    try:
        with socket.create_connection(address, timeout=2) as connection:
            return connection.recv(100).decode()
    except OSError:
        return None


# First of all, before this run has a node of its own, which could have changed something already.
ONE_NODE = """
import sys
from tests.testbed import objects
from tests.testbed.node import running_node_cluster
with running_node_cluster() as cluster:
    namespace = cluster.make_namespace()
    cluster.apply(objects.job("song", objects.container(cluster.busybox_image)), namespace=namespace)
    cluster.wait_for_end(namespace, "song")
    print(cluster.folder, cluster.network.interface, flush=True)
    sys.stdin.read()
"""


@pytest.mark.xdist_group("node_cluster")  # no other node comes or goes meanwhile
@pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])
def test_the_machine_is_left_as_it_was_found(killed: bool) -> None:
    require_node()
    before = machine.snapshot()
    with subprocess.Popen(
        [sys.executable, "-c", ONE_NODE],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout
        folder, interface = run.stdout.readline().split()
        assert Path(folder).is_dir()
        assert f"new: interface {interface}" in machine.differences(before, machine.snapshot())
        if killed:
            os.kill(run.pid, signal.SIGKILL)

    def as_before() -> bool:
        left = machine.differences(before, machine.snapshot())
        # A node of another test run may come or go meanwhile.
        marks = re.compile(r"(?:stj|stemjob-testbed-)([0-9a-f]{8})\b")
        others = [line for line in left if (found := marks.search(line)) and found[1] not in interface]
        return set(left) == set(others)

    wait_for("the machine as before", as_before, every=0.5)
    wait_for("the node's files to be gone", lambda: not Path(folder).exists())
    assert folder not in machine.run("ps", "-eo", "args")


def test_a_jobs_container_runs_and_its_log_is_read(node_cluster: NodeCluster, node_namespace: str) -> None:
    assert run_job(node_cluster, node_namespace, "echo hello; id -u") == ("Complete", "hello\n10001\n")


def test_exit_code_and_last_words_are_seen(node_cluster: NodeCluster, node_namespace: str) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    end, _ = run_job(node_cluster, node_namespace, "echo not a song; exit 65", **policy)

    assert end == "BackoffLimitExceeded"
    [pod] = node_cluster.pods_of(node_namespace, "song")
    assert pod.status
    assert pod.status.container_statuses
    state = pod.status.container_statuses[0].state
    assert state
    assert state.terminated
    assert (state.terminated.exit_code, state.terminated.message) == (65, "not a song\n")


def test_a_container_over_its_memory_is_killed(node_cluster: NodeCluster, node_namespace: str) -> None:
    end, _ = run_job(node_cluster, node_namespace, "tail /dev/zero", resources={"limits": {"memory": "32Mi"}})

    assert end == "BackoffLimitExceeded"
    [pod] = node_cluster.pods_of(node_namespace, "song")
    assert "OOMKilled" in str(pod.status)


def test_a_token_mounted_by_the_kubelet_names_its_pod(node_cluster: NodeCluster, node_namespace: str) -> None:
    _, token = run_job(
        node_cluster, node_namespace, "cat /var/run/secrets/kubernetes.io/serviceaccount/token"
    )

    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    [pod] = node_cluster.pods_of(node_namespace, "song")
    assert claims["kubernetes.io"]["pod"] == {"name": key_of(pod).name, "uid": key_of(pod).uid}


def test_a_service_answers_from_this_machine(node_cluster: NodeCluster, node_namespace: str) -> None:
    address = serve(node_cluster, node_namespace)

    assert wait_for("an answer", lambda: said_by((address, 80))) == "nine tracks\n"


def test_a_service_answers_to_its_name_in_a_pod(node_cluster: NodeCluster, node_namespace: str) -> None:
    serve(node_cluster, node_namespace)

    assert run_job(node_cluster, node_namespace, "nc web 80 < /dev/null") == ("Complete", "nine tracks\n")


def test_pods_reach_the_api_server_by_its_name(node_cluster: NodeCluster, node_namespace: str) -> None:
    end, log = run_job(
        node_cluster,
        node_namespace,
        "nslookup kubernetes.default.svc.cluster.local && nc -w 5 kubernetes.default 443 < /dev/null",
    )

    assert end == "Complete", log


def test_pods_reach_what_a_test_serves(node_cluster: NodeCluster, node_namespace: str) -> None:
    with socket.create_server((node_cluster.host_address, 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"from the test\n")

        thread = threading.Thread(target=answer)
        thread.start()
        end, log = run_job(node_cluster, node_namespace, f"nc {node_cluster.host_address} {port} < /dev/null")
        thread.join()

    assert (end, log) == ("Complete", "from the test\n")


def test_an_imported_image_runs(node_cluster: NodeCluster, node_namespace: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "sh").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin" / "sh").chmod(0o755)
    (root / "song.txt").write_text("nine tracks")
    node_cluster.import_image(write_image(tmp_path / "image.tar", "testbed.local/song:1", root))

    end, log = run_job(
        node_cluster, node_namespace, "read line < /song.txt; echo $line", image="testbed.local/song:1"
    )

    assert (end, log) == ("Complete", "nine tracks\n")


def test_a_pod_that_asks_for_a_gpu_runs_on_a_pretended_one(
    node_cluster: NodeCluster, node_namespace: str
) -> None:
    node_cluster.pretend_gpus(1)
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    assert run_job(node_cluster, node_namespace, "echo ran", resources=gpu) == ("Complete", "ran\n")
