"""Whole lives of jobs over HTTP, with what stands around the API in a cluster: sweep, queue, replicas."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import V1Pod

from api.settings import ApiSettings
from api.wiring import opened_sweep
from contract import clock
from contract.failures import FailureCode
from contract.layout import job_key, manifest_key
from contract.manifest import Manifest
from tests.api.conftest import REPOSITORY, Serve, Server, add_job, job_record
from tests.api.launchers.conftest import another_pod, shipped
from tests.audio import song
from tests.testbed.cluster import Cluster
from tests.testbed.fake_node import FakeNode
from tests.testbed.waiting import wait_for

SONG = song(0.5)
QUEUE = "kueue.x-k8s.io/queue-name"


@pytest.fixture
def server(serve: Serve, api_kubeconfig: Path, jobs_namespace: str) -> Server:
    """As the chart sets it up: it leaves the sweep to a CronJob."""
    return serve(
        STEMJOB_LAUNCHER="kubernetes",
        STEMJOB_NAMESPACE=jobs_namespace,
        KUBECONFIG=str(api_kubeconfig),
        STEMJOB_SWEEP_SECONDS="0",
    )


def sweep(server: Server, *arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
    """`python -m api.sweep` with the server's settings."""
    environment = {**os.environ, "STEMJOB_STORE": server.store_url, **server.environment, **changed}
    command = [sys.executable, "-m", "api.sweep", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def sweep_here(server: Server) -> None:
    """The same in this process, which takes a second less."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**server.environment, "STEMJOB_STORE": server.store_url}.items():
            environment.setenv(name, value)
        with opened_sweep(ApiSettings()) as opened:
            opened.run(clock.now())


def upload(server: Server) -> str:
    with server.client() as client:
        answer = client.post("/process", files={"file": ("song.wav", SONG)})
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def status(server: Server, job_id: str) -> dict[str, Any]:
    with server.client() as client:
        answer = client.get(f"/job/{job_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def waits(server: Server, job_id: str, code: str) -> None:
    wait_for(f"it to wait: {code}", lambda: (status(server, job_id)["waiting"] or {}).get("code") == code)


def names(cluster: Cluster, namespace: str, kind: str) -> list[str]:
    return cluster.kubectl("-n", namespace, "get", kind, "-o", "name").split()


def test_the_sweep_as_a_cronjob_makes_missing_jobs_and_records_dead_ones(
    cluster: Cluster, jobs_namespace: str, server: Server, make_node: Callable[..., FakeNode]
) -> None:
    missing = add_job(server.store, job_record())
    died = upload(server)
    node = make_node({"nvidia.com/gpu": "2"})
    node.ended_seconds_ago = 600
    tries: list[V1Pod] = []
    for _ in range(3):
        tries.append(node.oom_killed(another_pod(cluster, jobs_namespace, f"stemjob-{died}", *tries)))
    wait_for("the Job to fail", lambda: status(server, died)["code"])
    elsewhere = sweep(server, STEMJOB_NAMESPACE="default")
    assert elsewhere.returncode == 1
    assert elsewhere.stderr.splitlines()[-1] == "The cluster does not let the API look after its jobs."

    done = sweep(server)

    assert (done.returncode, "missing_runner_launched" in done.stderr) == (0, True), done.stderr
    assert f"job.batch/stemjob-{missing}" in names(cluster, jobs_namespace, "jobs")
    found = server.store.get(manifest_key(died))
    assert found is not None
    assert Manifest.model_validate_json(found[0]).answer.code is FailureCode.OOM_KILLED
    again = sweep(server, "--all")
    assert (again.returncode, "missing_runner_launched" in again.stderr) == (0, False), again.stderr


def test_the_sweep_keeps_the_reason_of_a_wait_that_kubernetes_will_forget(
    cluster: Cluster, jobs_namespace: str, server: Server
) -> None:
    job_id = upload(server)  # no node: the pod waits, and nobody asks for the job
    name = f"stemjob-{job_id}"

    def swept() -> str:
        sweep_here(server)
        place = r"jsonpath={.metadata.annotations.stemjob\.dev/diagnosis}"
        return cluster.kubectl("-n", jobs_namespace, "get", "job", name, "-o", place)

    assert json.loads(wait_for("the diagnosis", swept))["code"] == "unschedulable"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"STEMJOB_LAUNCHER": "local"}, "STEMJOB_LAUNCHER is local, and then the API sweeps by itself"),
        ({"STEMJOB_SWEEP_SECONDS": "-1"}, "STEMJOB_SWEEP_SECONDS is not right"),
        ({"KUBECONFIG": "/nothing"}, "there is no way into a cluster"),
        ({"STEMJOB_STORE": "ftp://songs"}, "a store's URL begins with file:// or gs://"),
    ],
)
def test_a_sweep_that_cannot_begin_ends_with_1_and_a_sentence(
    tmp_path: Path, changed: dict[str, str], sentence: str
) -> None:
    done = sweep(Server(tmp_path, {"STEMJOB_LAUNCHER": "kubernetes"}), **changed)

    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_jobs_in_every_state_are_deleted_with_their_pods_and_do_not_come_back(
    cluster: Cluster, jobs_namespace: str, server: Server, make_node: Callable[..., FakeNode]
) -> None:
    job_ids = [upload(server) for _ in range(3)]
    node = make_node({"nvidia.com/gpu": "2"})

    def scheduled() -> list[str]:
        return [job_id for job_id in job_ids if status(server, job_id)["waiting"] is None]

    wait_for("two pods to have a node", lambda: len(scheduled()) == 2)
    running, finished = scheduled()
    [waiting] = set(job_ids) - {running, finished}
    node.running(another_pod(cluster, jobs_namespace, f"stemjob-{running}"))
    node.failed(another_pod(cluster, jobs_namespace, f"stemjob-{finished}"), 65)
    wait_for("one to be finished", lambda: status(server, finished)["status"] == "failed")
    sweep_here(server)
    assert server.store.stat(manifest_key(finished)) is not None

    with server.client() as client:
        answers = [client.delete(f"/job/{job_id}").status_code for job_id in (waiting, running, finished)]
        assert answers == [204, 204, 204]
        assert [client.get(f"/job/{job_id}").status_code for job_id in job_ids] == [404, 404, 404]
        assert client.get("/jobs").json() == {"jobs": [], "next": None}

    wait_for("Jobs and pods to go", lambda: names(cluster, jobs_namespace, "jobs,pods") == [])
    sweep_here(server)
    assert names(cluster, jobs_namespace, "jobs") == []
    assert sorted(info.key for info in server.store.list("")) == sorted(
        key for job_id in job_ids for key in (f"deleted/{job_id}", job_key(job_id))
    )


def test_a_cluster_that_does_not_answer_does_not_keep_a_job_from_being_deleted(
    cluster: Cluster, jobs_namespace: str, server: Server
) -> None:
    control = cluster.require_control("servers are stopped")
    job_id = upload(server)
    control.stop_apiserver()
    try:
        with server.client() as client:
            assert client.delete(f"/job/{job_id}").status_code == 204
            assert client.get(f"/job/{job_id}").status_code == 404
        failed = sweep(server)
    finally:
        control.start_apiserver()
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "The cluster does not answer at present."
    assert names(cluster, jobs_namespace, "jobs") == [f"job.batch/stemjob-{job_id}"]

    sweep_here(server)

    wait_for("the Job to go", lambda: names(cluster, jobs_namespace, "jobs,pods") == [])
    assert [info.key for info in server.store.list("jobs/")] == [job_key(job_id)]


@pytest.fixture
def queue(cluster: Cluster, jobs_namespace: str) -> Iterator[None]:
    """In place of Kueue's webhook: new Jobs with its label are suspended, those without are left alone."""
    name = f"queue-{jobs_namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "objectSelector": {"matchExpressions": [{"key": QUEUE, "operator": "Exists"}]},
                "resourceRules": [
                    {
                        "apiGroups": ["batch"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["jobs"],
                    }
                ],
            },
            "reinvocationPolicy": "Never",
            "mutations": [
                {
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": "Object{spec: Object.spec{suspend: true}}"},
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": jobs_namespace}}
            },
        },
    }
    cluster.apply(policy, binding)
    yield
    cluster.kubectl("delete", "mutatingadmissionpolicy,mutatingadmissionpolicybinding", name)


def test_a_job_with_the_label_of_a_queue_waits_until_it_is_let_go(
    cluster: Cluster,
    jobs_namespace: str,
    queue: None,
    serve: Serve,
    api_kubeconfig: Path,
    fake_node: FakeNode,
    tmp_path: Path,
) -> None:
    template = shipped()
    template.setdefault("metadata", {})["labels"] = {QUEUE: "songs"}
    (tmp_path / "job.yaml").write_text(json.dumps(template))
    server = serve(
        STEMJOB_LAUNCHER="kubernetes",
        STEMJOB_NAMESPACE=jobs_namespace,
        STEMJOB_JOB_TEMPLATE=str(tmp_path / "job.yaml"),
        KUBECONFIG=str(api_kubeconfig),
        STEMJOB_SWEEP_SECONDS="0",
    )
    wait_for("the policy to be in force", lambda: _suspends(cluster, jobs_namespace))

    job_id = upload(server)

    job = cluster.batch.read_namespaced_job(f"stemjob-{job_id}", jobs_namespace)
    assert job.metadata
    assert (job.metadata.labels or {})[QUEUE] == "songs"
    waits(server, job_id, "suspended")
    with server.client() as client:
        [line] = client.get("/jobs").json()["jobs"]
    assert (line["stage"], line["waiting"]["code"]) == ("queued", "suspended")
    assert names(cluster, jobs_namespace, "pods") == []
    sweep_here(server)  # which does not take it for a job without a runner

    cluster.batch.patch_namespaced_job(f"stemjob-{job_id}", jobs_namespace, {"spec": {"suspend": False}})

    fake_node.running(another_pod(cluster, jobs_namespace, f"stemjob-{job_id}"))
    wait_for("the wait to be over", lambda: status(server, job_id)["waiting"] is None)
    assert status(server, job_id)["status"] == "processing"


def _suspends(cluster: Cluster, namespace: str) -> bool:
    job: Any = shipped()
    job["metadata"] = {"name": "trial", "labels": {QUEUE: "songs"}}
    made = cluster.batch.create_namespaced_job(namespace, job, dry_run="All")
    return bool(made.spec and made.spec.suspend)


def test_replicas_list_the_same(
    jobs_namespace: str, server: Server, serve: Serve, fake_node: FakeNode
) -> None:
    job_ids = [upload(server) for _ in range(3)]
    replica = serve("replica", STEMJOB_STORE=server.store_url, **server.environment)

    def pages() -> list[Any]:
        found = []
        for each in (server, replica):
            with each.client() as client:
                found.append(client.get("/jobs", params={"limit": 2}).json())
        return found

    def agreed() -> Any:
        first, second = pages()  # each as it was a moment ago
        return first if first == second and any(job["waiting"] for job in first["jobs"]) else None

    first = wait_for("both to say the same", agreed)
    assert [job["job_id"] for job in first["jobs"]] == job_ids[:0:-1]
