"""`make kind-up` and `make kind-demo` without containers; tests/test_main_job_cluster.py has the rest."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.api.conftest import Serve
from tests.audio import song
from tests.helm.chart import CHART, REPOSITORY, Helm
from tests.helm.kubelet import running_all
from tests.testbed.cluster import Cluster
from tests.testbed.fake_node import FakeNode
from tests.testbed.requirements import require

SCRIPT = REPOSITORY / "scripts" / "kind.sh"
HELM_TEST = CHART / "files" / "helm_test.py"


@pytest.mark.usefixtures("stemjob_namespace")
def test_kind_up_installs_the_chart_and_again(
    helm: Helm, cluster: Cluster, make_node: Callable[..., FakeNode]
) -> None:
    [kubectl] = require("kubectl")
    programs = {"KUBECTL": str(kubectl), "HELM": str(helm.program), "KUBECONFIG": str(cluster.kubeconfig)}
    with running_all(make_node()):
        for _ in range(2):
            subprocess.run(["sh", SCRIPT, "install"], env=helm.environment | programs, check=True)

    ports = cluster.kubectl("-n", "stemjob", "get", "service", "stemjob", "-o", "jsonpath={.spec.ports}")
    assert '"nodePort":30080' in ports
    images = cluster.kubectl("-n", "stemjob", "get", "deployments", "-o", "jsonpath={..image}").split()
    assert set(images) == {"stemjob-api:dev", "fsouza/fake-gcs-server:1.56.1"}


def test_one_port_and_one_emulator_for_cluster_chart_and_script(helm: Helm) -> None:
    [node] = yaml.safe_load((REPOSITORY / "kind-config.yaml").read_text())["nodes"]
    [mapping] = node["extraPortMappings"]
    rendered = helm.render(CHART / "values-kind.yaml")
    [port] = rendered.get("Service", "stemjob")["spec"]["ports"]
    [emulator] = rendered.get("Deployment", "stemjob-bucket")["spec"]["template"]["spec"]["containers"]

    assert port["nodePort"] == mapping["containerPort"]
    assert f"http://localhost:{mapping['hostPort']}\n" in (REPOSITORY / "Makefile").read_text()
    assert f"EMULATOR={emulator['image']}\n" in SCRIPT.read_text()


def test_a_missing_program_is_one_sentence() -> None:
    ended = subprocess.run(
        ["/bin/sh", SCRIPT, "up"],
        env={"PATH": "/usr/bin:/bin", "KIND": "no-kind", "DOCKER": "true"},
        capture_output=True,
    )

    assert (ended.returncode, ended.stderr) == (1, b"There is no no-kind on this machine.\n")


def run_helm_test(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, HELM_TEST, url, "120"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_demo(folder: Path, url: str) -> subprocess.Popen[str]:
    (folder / "song.wav").write_bytes(song(1.0))
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.demo", "song.wav", url],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_without_an_api_both_say_so(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9"
    with run_helm_test(url) as test, run_demo(tmp_path, url) as demo:
        tested, shown = test.communicate()[0], demo.communicate()[0]

    assert (test.returncode, demo.returncode) == (1, 1)
    assert tested.startswith(f"{url} cannot be reached")
    assert shown.startswith(f"No stemjob answers at {url}")


def test_helm_test_fails_with_the_api_s_own_words(serve: Serve) -> None:
    server = serve(STEMJOB_MAX_DURATION_SECONDS="0.5")
    with run_helm_test(server.url) as test:
        tested = test.communicate()[0]

    assert test.returncode == 1
    assert f"{server.url}/process answered 400: " in tested
    assert '"code":"duration_exceeded"' in tested
