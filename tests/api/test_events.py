"""GET /job/{id}/events: a job's status as it changes, while the server goes on and when it stops."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2 as httpx
import pytest

from contract import clock
from contract.layout import job_key, manifest_key
from contract.manifest import Manifest
from contract.stores import Store
from tests.api.conftest import Serve, Server, add_finished_job, add_job, job_record

MOST = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server at which few can watch at a time."""
    server = Server(tmp_path_factory.mktemp("server"), {"STEMJOB_EVENT_STREAMS": str(MOST)}).start()
    yield server
    server.stop()


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def unfinished_job(store: Store) -> tuple[str, Manifest]:
    """A job that goes on, and the manifest it will have."""
    job_id = add_finished_job(store, track_bytes=10)
    found = store.get(manifest_key(job_id))
    assert found is not None
    store.delete(manifest_key(job_id))
    return job_id, Manifest.model_validate_json(found[0])


def test_a_finished_job_is_one_event_that_says_what_the_job_says(
    client: httpx.Client, server: Server
) -> None:
    job_id = add_finished_job(server.store, track_bytes=10)

    answer = client.get(f"/job/{job_id}/events")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Request-ID"]
    assert list(events(answer)) == [client.get(f"/job/{job_id}").json()]


def test_every_change_is_an_event_until_the_job_has_ended(client: httpx.Client, server: Server) -> None:
    job_id, manifest = unfinished_job(server.store)

    with client.stream("GET", f"/job/{job_id}/events") as answer:
        seen = events(answer)
        assert next(seen)["status"] == "processing"
        server.store.put(manifest_key(job_id), manifest.to_json(), content_type="application/json")
        assert [event["status"] for event in seen] == ["completed"]


def test_the_stream_of_a_job_that_is_deleted_ends(client: httpx.Client, server: Server) -> None:
    job_id = add_job(server.store, job_record())

    with client.stream("GET", f"/job/{job_id}/events") as answer:
        seen = events(answer)
        next(seen)
        server.store.delete(job_key(job_id))
        assert list(seen) == []
    while not any(line.get("path") == f"/job/{job_id}/events" for line in server.log_lines()):
        time.sleep(0.02)  # written when all is over
    assert not any(line["event"] == "unexpected_error" for line in server.log_lines())


def test_a_job_that_is_not_there_is_an_error_and_no_stream(client: httpx.Client) -> None:
    answer = client.get("/job/00000000-0000-4000-8000-000000000000/events")

    assert answer.status_code == 404
    assert answer.json() == {"detail": "Job not found", "code": "job_not_found"}


def test_a_look_that_fails_is_not_the_end_of_the_stream(client: httpx.Client, server: Server) -> None:
    job_id, manifest = unfinished_job(server.store)
    place = server.folder / "store" / "jobs" / job_id / "job.json"

    with client.stream("GET", f"/job/{job_id}/events") as answer:
        seen = events(answer)
        next(seen)
        content = place.read_bytes()
        aside = place.with_name("aside")
        place.rename(aside)
        place.symlink_to(place)  # cannot be opened, whoever tries
        lines = server.log_lines
        while not any(line["event"] == "watch_saw_nothing" for line in lines()):
            time.sleep(0.1)
        server.store.put(manifest_key(job_id), manifest.to_json(), content_type="application/json")
        place.unlink()
        aside.rename(place)
        assert place.read_bytes() == content
        assert [event["status"] for event in seen] == ["completed"]


def test_streams_beyond_the_limit_are_refused_and_a_place_is_free_again(
    client: httpx.Client, server: Server
) -> None:
    job_id = add_job(server.store, job_record())
    path = f"/job/{job_id}/events"

    with ExitStack() as opened:
        answers = [opened.enter_context(client.stream("GET", path)) for _ in range(MOST + 1)]
        refused = answers[-1]
        refused.read()
        assert client.get(f"/job/{job_id}").status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert refused.headers["Retry-After"]
    until = time.monotonic() + 30
    while client.get("/job/nothing/events").status_code != 404:  # the server notices who has gone
        assert time.monotonic() < until
        time.sleep(0.1)


def test_open_streams_do_not_keep_a_server_from_stopping_in_order(serve: Serve) -> None:
    server = serve()
    assert server.process is not None
    job_id = add_job(server.store, job_record().model_copy(update={"created_at": clock.now()}))

    with server.client() as client, client.stream("GET", f"/job/{job_id}/events") as answer:
        seen = events(answer)
        next(seen)
        server.process.send_signal(signal.SIGTERM)
        assert list(seen) == []

    assert server.process.wait(20) == 0
    assert "Traceback" not in server.log_file.read_text()
