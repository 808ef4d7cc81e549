"""The operator's page: its commands work as they stand there, and it leaves no failure out."""

import os
import re
import subprocess
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from api.errors import RefusalCode
from api.launchers.kubernetes.stamp import stamp
from api.launchers.kubernetes.template import load_template
from contract.failures import FailureCode
from contract.job import JobSpec
from tests.helm.chart import REPOSITORY, Helm
from tests.helm.kubelet import running_all
from tests.testbed import objects
from tests.testbed.cluster import Cluster
from tests.testbed.fake_node import FakeNode
from tests.testbed.node import NodeCluster
from tests.testbed.requirements import require
from tests.testbed.waiting import wait_for

PAGE = (REPOSITORY / "docs" / "operating.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line
]
OF_CONTAINERS = [line for line in COMMANDS if " logs " in line]
"""Those that need a node which runs containers."""


def test_every_failure_and_every_refusal_of_the_operator_s_is_explained() -> None:
    theirs = {RefusalCode.STORE_UNAVAILABLE, RefusalCode.CLUSTER_UNAVAILABLE, RefusalCode.QUOTA_EXCEEDED}

    for code in (*FailureCode, *theirs, RefusalCode.BUSY, RefusalCode.INTERNAL_ERROR):
        assert f"\n| `{code}` | " in PAGE, code


def test_every_file_that_the_page_names_is_there() -> None:
    named = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in link]

    assert len(named) > 5
    assert [link for link in named if not (REPOSITORY / "docs" / link).exists()] == []


class Shell:
    """A terminal with kubectl and helm on its path, at a cluster."""

    def __init__(self, helm: Helm, cluster: Cluster, folder: Path, job_id: str) -> None:
        for program in (require("kubectl")[0], helm.program):
            (folder / program.name).symlink_to(program)
        path = f"{folder}:{os.environ['PATH']}"
        self.environment = helm.environment | {
            "PATH": path,
            "KUBECONFIG": str(cluster.kubeconfig),
            "JOB_ID": job_id,
        }

    def runs(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command],
            env=self.environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout


@pytest.mark.usefixtures("stemjob_namespace")
def test_the_commands_work_one_after_the_other(
    helm: Helm, cluster: Cluster, make_node: Callable[..., FakeNode], tmp_path: Path
) -> None:
    spec = JobSpec(job_id=str(uuid.uuid4()), store="gs://your-bucket/stemjob")
    job: Any = stamp(load_template(None), spec, "stemjob")
    shell, said = Shell(helm, cluster, tmp_path, spec.job_id), {}
    with running_all(make_node({"nvidia.com/gpu": "1"})):
        for command in COMMANDS:
            if command in OF_CONTAINERS:
                continue
            said[command] = shell.runs(command)
            if command.startswith("helm upgrade --install"):
                cluster.batch.create_namespaced_job("stemjob", job)
                wait_for("the runner's pod", lambda: cluster.pods_of("stemjob", job["metadata"]["name"]))
                stage = ("stemjob.dev/stage=audio_separation", "--overwrite")
                cluster.kubectl("-n", "stemjob", "label", "job", job["metadata"]["name"], *stage)

    showing = [command for command in COMMANDS if "get jobs" in command or "JOB_ID" in command]
    shown = [command for command in showing if spec.job_id in said.get(command, "")]
    assert len(shown) >= 5, showing
    assert (
        "audio_separation" in said[next(command for command in COMMANDS if "-L stemjob.dev/stage" in command)]
    )


def test_the_commands_about_logs_work_where_containers_run(
    helm: Helm, node_cluster: NodeCluster, node_namespace: str, tmp_path: Path
) -> None:
    job_id = str(uuid.uuid4())
    talks = objects.container(node_cluster.busybox_image, ["sh", "-c", "echo a word; sleep 1000"])
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "stemjob-api"},
        "spec": {
            "selector": {"matchLabels": {"app": "api"}},
            "template": {
                "metadata": {"labels": {"app": "api"}},
                "spec": {"containers": [talks], "terminationGracePeriodSeconds": 0},
            },
        },
    }
    node_cluster.apply(objects.job(f"stemjob-{job_id}", talks), deployment, namespace=node_namespace)
    shell = Shell(helm, node_cluster, tmp_path, job_id)

    def ready() -> bool:
        pods = node_cluster.core.list_namespaced_pod(node_namespace).items
        return len(pods) == 2 and all(pod.status and pod.status.phase == "Running" for pod in pods)

    wait_for("both pods to run", ready, 60)
    assert len(OF_CONTAINERS) == 2
    for command in OF_CONTAINERS:
        here = command.replace("-n stemjob ", f"-n {node_namespace} ")
        assert wait_for("its words", partial(shell.runs, here)) == "a word\n"
