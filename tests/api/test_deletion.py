"""DELETE /job/{id}: gone at once for every client, and for good, whatever state the job is in."""

import time
from collections.abc import Iterator

import httpx2 as httpx
import psutil
import pytest

from contract.layout import job_key
from contract.tombstone import Tombstone
from tests.api.conftest import Serve, Server, add_finished_job, add_job, job_record
from tests.audio import song
from tests.testbed.waiting import wait_for

LONG_SONG = song(15.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It sweeps only at its start, so that what a deletion leaves can be seen."""
    folder = tmp_path_factory.mktemp("deletion")
    server = Server(folder, {"STEMJOB_SWEEP_SECONDS": "3600"}).start()
    yield server
    server.stop()


def left_of(server: Server, job_id: str) -> list[str]:
    return [info.key for info in server.store.list("") if job_id in info.key]


def test_a_finished_job_is_gone_everywhere(server: Server, client: httpx.Client) -> None:
    job_id = add_finished_job(server.store)
    other = add_finished_job(server.store)
    for address in (f"/job/{job_id}", f"/download/{job_id}/vocals"):
        assert client.get(address).status_code == 200  # and the server knows its manifest

    answer = client.delete(f"/job/{job_id}")

    assert (answer.status_code, answer.content) == (204, b"")
    for address in (
        f"/job/{job_id}",
        f"/job/{job_id}/outputs",
        f"/download/{job_id}/vocals",
        f"/download/{job_id}/all",
    ):
        gone = client.get(address)
        assert (gone.status_code, gone.json()["code"]) == (404, "job_not_found")
    assert job_id not in client.get("/jobs").text
    assert client.get(f"/download/{other}/vocals").status_code == 200


def test_nothing_is_left_but_a_tombstone_and_its_mark(server: Server, client: httpx.Client) -> None:
    job_id = add_finished_job(server.store)

    client.delete(f"/job/{job_id}")

    assert left_of(server, job_id) == [f"deleted/{job_id}", job_key(job_id)]
    found = server.store.get(job_key(job_id))
    assert found is not None
    assert Tombstone.model_validate_json(found[0]).job_id == job_id


@pytest.mark.parametrize("job_id", ["no-id", "6f2c1e9a-4b7d-4c3e-9a51-0d8e7f6a5b4c"])
def test_what_is_not_there_cannot_be_deleted(client: httpx.Client, job_id: str) -> None:
    answer = client.delete(f"/job/{job_id}")

    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_a_second_deletion_finds_nothing(server: Server, client: httpx.Client) -> None:
    job_id = add_finished_job(server.store)

    assert [client.delete(f"/job/{job_id}").status_code for _ in range(2)] == [204, 404]


def test_a_job_without_a_runner_can_be_deleted(server: Server, client: httpx.Client) -> None:
    job_id = add_job(server.store, job_record())

    assert client.delete(f"/job/{job_id}").status_code == 204
    assert left_of(server, job_id) == [f"deleted/{job_id}", job_key(job_id)]


def upload(client: httpx.Client, **headers: str) -> str:
    answer = client.post("/process", files={"file": ("song.wav", LONG_SONG)}, headers=headers)
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def test_a_key_whose_job_was_deleted_makes_a_new_one(server: Server, client: httpx.Client) -> None:
    first = upload(client, **{"Idempotency-Key": "again"})
    assert upload(client, **{"Idempotency-Key": "again"}) == first
    client.delete(f"/job/{first}")

    second = upload(client, **{"Idempotency-Key": "again"})

    assert second != first
    client.delete(f"/job/{second}")


def test_a_running_song_ends_and_a_waiting_one_never_begins(serve: Serve) -> None:
    server = serve(STEMJOB_SWEEP_SECONDS="1")
    with server.client() as client:
        running, waiting = upload(client), upload(client)
        wait_for(
            "the song to be worked on",
            lambda: client.get(f"/job/{running}").json()["stages"][0]["status"] == "processing",
            120,
        )
        runner = psutil.Process(server.runner_pid(running))

        assert client.delete(f"/job/{waiting}").status_code == 204
        assert client.delete(f"/job/{running}").status_code == 204
        assert {client.get(f"/job/{job_id}").status_code for job_id in (running, waiting)} == {404}

        wait_for("the runner to end", lambda: not runner.is_running(), 30)
        wait_for("the launcher to forget both", lambda: list(server.jobs_folder.iterdir()) == [], 10)
        time.sleep(2.5)  # two sweeps: nothing comes back
    for job_id in (running, waiting):
        assert left_of(server, job_id) == [f"deleted/{job_id}", job_key(job_id)]
    assert [path.name for path in (server.folder / "store" / ".tmp").iterdir()] == ["lock"]
    events = [line["event"] for line in server.log_lines()]
    assert events.count("runner_started") == 1
    assert "missing_runner_launched" not in events


def test_what_was_to_be_deleted_when_the_api_died_is_deleted_by_the_next_one(serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        job_id = upload(client)
        wait_for("a runner", lambda: (server.jobs_folder / job_id / "started").exists())
        runner = psutil.Process(server.runner_pid(job_id))
    server.kill()
    (server.jobs_folder / job_id / "deleted").touch()

    server.start()

    wait_for("the runner to end", lambda: not runner.is_running() or runner.status() == "zombie", 30)
    wait_for("the launcher to forget it", lambda: not (server.jobs_folder / job_id).exists(), 10)
