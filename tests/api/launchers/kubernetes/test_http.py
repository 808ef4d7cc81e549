"""POST and GET over HTTP with the Kubernetes launcher: what a client sees, and what is left behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from kubernetes.client import V1Pod

from contract.layout import job_key, manifest_key
from tests.api.conftest import Serve, Server, add_finished_job
from tests.api.launchers.conftest import another_pod, shipped, wait_for_quota
from tests.audio import song
from tests.testbed.cluster import Cluster
from tests.testbed.fake_node import FakeNode
from tests.testbed.waiting import wait_for

SONG = song(0.5)


@pytest.fixture
def server(serve: Serve, api_kubeconfig: Path, jobs_namespace: str) -> Server:
    return serve(
        STEMJOB_LAUNCHER="kubernetes",
        STEMJOB_NAMESPACE=jobs_namespace,
        KUBECONFIG=str(api_kubeconfig),
        STEMJOB_SWEEP_SECONDS="1",
    )


def post(server: Server, **headers: str) -> httpx.Response:
    with server.client() as client:
        return client.post("/process", files={"file": ("song.wav", SONG)}, headers=headers)


def job_records(server: Server) -> list[str]:
    return [info.key for info in server.store.list("jobs/") if info.key.endswith("job.json")]


def ask(server: Server, job_id: str) -> httpx.Response:
    with server.client() as client:
        return client.get(f"/job/{job_id}")


def status(server: Server, job_id: str) -> dict[str, Any]:
    answer = ask(server, job_id)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def test_every_replica_says_why_a_song_waits_and_why_it_failed_also_when_the_job_is_gone(
    cluster: Cluster, jobs_namespace: str, server: Server, serve: Serve, make_node: Callable[..., FakeNode]
) -> None:
    answer = post(server)
    assert answer.status_code == 200
    job_id, name = answer.json()["job_id"], f"stemjob-{answer.json()['job_id']}"
    wait_for("it to say why it waits", lambda: (status(server, job_id)["waiting"] or {}).get("code"))
    assert status(server, job_id)["waiting"]["code"] == "unschedulable"
    replica = serve("replica", STEMJOB_STORE=server.store_url, **server.environment)
    assert status(replica, job_id) == status(server, job_id)

    node = make_node({"nvidia.com/gpu": "1"})
    node.ended_seconds_ago = 600
    tries: list[V1Pod] = []
    for _ in range(3):
        tries.append(node.oom_killed(another_pod(cluster, jobs_namespace, name, *tries)))
    wait_for("the sweep to record it", lambda: server.store.stat(manifest_key(job_id)))
    cluster.kubectl("-n", jobs_namespace, "delete", "job", name)

    server.kill()
    last = status(replica, job_id)
    assert (last["status"], last["code"]) == ("failed", "oom_killed")
    assert last["stages"][0]["error"] == last["error"]


def test_an_api_that_may_not_look_after_jobs_is_healthy_and_not_ready(
    serve: Serve, api_kubeconfig: Path
) -> None:
    server = serve(STEMJOB_LAUNCHER="kubernetes", STEMJOB_NAMESPACE="default", KUBECONFIG=str(api_kubeconfig))

    with server.client() as client:
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "cluster_unavailable")
        assert client.get("/health").status_code == 200


def test_a_full_quota_is_429_and_leaves_nothing(
    cluster: Cluster, jobs_namespace: str, server: Server
) -> None:
    cluster.kubectl("-n", jobs_namespace, "create", "quota", "songs", "--hard=count/jobs.batch=0")
    wait_for_quota(cluster, jobs_namespace)

    answer = post(server)

    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert int(answer.headers["Retry-After"]) > 0
    assert list(server.store.list("")) == []


def test_a_job_that_the_cluster_refuses_is_500_and_leaves_nothing(
    serve: Serve, api_kubeconfig: Path, jobs_namespace: str, tmp_path: Path
) -> None:
    template = shipped()
    template["spec"]["template"]["spec"]["volumes"].pop()  # still mounted: only the API server knows
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(template))
    server = serve(
        STEMJOB_LAUNCHER="kubernetes",
        STEMJOB_NAMESPACE=jobs_namespace,
        STEMJOB_JOB_TEMPLATE=str(path),
        KUBECONFIG=str(api_kubeconfig),
    )

    answer = post(server)

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert list(server.store.list("")) == []
    [refusal] = [line for line in server.log_lines() if line["event"] == "job_refused"]
    assert "volumeMounts[1].name: Not found" in refusal["answer"]


def test_a_cluster_that_does_not_answer_is_503_and_the_sweep_makes_the_job_when_it_does(
    cluster: Cluster, jobs_namespace: str, server: Server
) -> None:
    control = cluster.require_control("servers are stopped")
    completed = add_finished_job(server.store)
    control.stop_apiserver()
    try:
        answer = post(server, **{"Idempotency-Key": "once"})
        [record] = [key for key in job_records(server) if completed not in key]
        asked = ask(server, record.split("/")[1])
        assert status(server, completed)["status"] == "completed"
    finally:
        control.start_apiserver()
    assert (answer.status_code, answer.json()["code"]) == (503, "cluster_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert (asked.status_code, asked.json()["code"]) == (503, "cluster_unavailable")

    def made() -> list[str]:
        return cluster.kubectl("-n", jobs_namespace, "get", "jobs", "-o", "name").split()

    [job] = wait_for("the sweep to make the Job", made, 30)
    assert record == job_key(job.removeprefix("job.batch/stemjob-"))
    again = post(server, **{"Idempotency-Key": "once"})
    assert again.json()["job_id"] in job
    assert len(made()) == 1
