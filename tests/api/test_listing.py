"""GET /jobs: newest first, page by page, by status and by stage; and who may ask."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest

from api.listing import EXAMINED_AT_MOST
from api.marks import enter
from contract import clock
from contract.failures import FailureCode
from contract.layout import job_key, manifest_key
from contract.manifest import JobAnswer, Manifest
from contract.stages import StageName, Status, begin, complete, fail, pending_stages
from contract.stores import Store
from tests.api.conftest import Serve, Server, add_finished_job, add_job, job_record

MINUTE = timedelta(minutes=1)


def add_failed_job(store: Store, age: timedelta, stage: StageName) -> str:
    record = job_record(age=age, file_name="broken.wav")
    stages = pending_stages()
    for name in StageName:
        if name is stage:
            break
        stages = complete(begin(stages, name, clock.now()), name, clock.now())
    answer = JobAnswer(
        job_id=record.job_id,
        status=Status.FAILED,
        created_at=record.created_at,
        stages=fail(stages, stage, clock.now(), "It broke."),
        code=FailureCode.INVALID_AUDIO,
        error="It broke.",
    )
    manifest = Manifest(answer=answer, file_name=record.file_name, finished_at=clock.now())
    add_job(store, record)
    store.put(manifest_key(record.job_id), manifest.to_json(), content_type="application/json")
    return record.job_id


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Without a sweep, so that jobs stay as the tests make them."""
    environment = {"STEMJOB_SWEEP_SECONDS": "0", "STEMJOB_ORIGINS": "https://ours.example"}
    server = Server(tmp_path_factory.mktemp("listing"), environment).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def songs(server: Server) -> list[str]:
    """Twelve jobs, newest first: every third is completed, every third has failed, the others wait."""
    ids = []
    for n in range(12):
        age = (n + 1) * MINUTE
        match n % 3:
            case 0:
                ids.append(add_finished_job(server.store, record=job_record(age=age, file_name=f"{n}.wav")))
            case 1:
                ids.append(add_failed_job(server.store, age, StageName.HPSS))
            case _:
                ids.append(add_job(server.store, job_record(age=age / 10)))
    created = {info.key.partition("-")[2]: info.key for info in server.store.list("index/")}
    return sorted(ids, key=lambda job_id: created[job_id])


def page(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.get("/jobs", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids_of(client: httpx.Client, **query: Any) -> list[str]:
    """Of all pages."""
    found: list[str] = []
    while True:
        body = page(client, **query)
        assert len(body["jobs"]) <= query.get("limit", 20)
        found += [job["job_id"] for job in body["jobs"]]
        if body["next"] is None:
            return found
        query["cursor"] = body["next"]


@pytest.mark.parametrize("limit", [1, 5, 12, 100])
def test_pages_put_together_are_all_jobs_newest_first(
    client: httpx.Client, songs: list[str], limit: int
) -> None:
    assert ids_of(client, limit=limit) == songs


def test_a_line_says_what_the_job_itself_says(client: httpx.Client, songs: list[str]) -> None:
    for line in page(client)["jobs"]:
        job = client.get(f"/job/{line['job_id']}").json()
        assert line == {
            "job_id": job["job_id"],
            "file_name": line["file_name"],
            "created_at": job["created_at"],
            "status": job["status"],
            "stage": {"completed": "completed", "failed": "failed", "processing": "queued"}[job["status"]],
            **{name: job[name] for name in ("progress", "code", "error", "waiting", "links")},
        }
    names = [line["file_name"] for line in page(client, status="completed")["jobs"]]
    assert names == ["0.wav", "3.wav", "6.wav", "9.wav"]


@pytest.mark.parametrize("limit", [1, 3, 20])
@pytest.mark.parametrize(
    "query",
    [
        {"status": "processing"},
        {"status": "completed"},
        {"status": "failed"},
        {"stage": "queued"},
        {"stage": "failed"},
        {"status": "completed", "stage": "completed"},
    ],
)
def test_filters_let_only_what_they_name_through(
    client: httpx.Client, songs: list[str], query: dict[str, str], limit: int
) -> None:
    found = ids_of(client, limit=limit, **query)

    bodies = {job_id: client.get(f"/job/{job_id}").json() for job_id in songs}
    words = {"queued": "processing", "failed": "failed", "completed": "completed"}
    status = query.get("status") or words[query["stage"]]
    assert found == [job_id for job_id in songs if bodies[job_id]["status"] == status]


def test_filters_that_exclude_each_other_find_nothing(client: httpx.Client, songs: list[str]) -> None:
    assert page(client, status="completed", stage="queued") == {"jobs": [], "next": None}


def test_a_job_that_comes_between_two_pages_moves_none(serve: Serve) -> None:
    server = serve(STEMJOB_SWEEP_SECONDS="0")
    old = [add_finished_job(server.store, record=job_record(age=(n + 1) * MINUTE)) for n in range(4)]
    with server.client() as client:
        first = page(client, limit=2)
        new = add_finished_job(server.store)
        client.delete(f"/job/{old[2]}")
        second = page(client, limit=2, cursor=first["next"])

        assert [job["job_id"] for job in first["jobs"] + second["jobs"]] == [old[0], old[1], old[3]]
        assert page(client, limit=1)["jobs"][0]["job_id"] == new


def test_a_search_far_and_wide_goes_on_over_pages_that_are_empty(serve: Serve) -> None:
    server = serve(STEMJOB_SWEEP_SECONDS="0")
    wanted = add_finished_job(server.store, record=job_record(age=100 * MINUTE))
    record = job_record()
    for n in range(EXAMINED_AT_MOST + 10):  # deleted in this moment: their index is still there
        enter(server.store, record.model_copy(update={"created_at": clock.now() - n * MINUTE / 100}))
    with server.client() as client:
        first = page(client, status="completed")
        assert first["jobs"] == []
        assert ids_of(client, status="completed") == [wanted]


def test_an_entry_whose_job_has_just_gone_is_left_out(server: Server, client: httpx.Client) -> None:
    record = job_record(file_name="gone.wav")
    add_job(server.store, record)
    server.store.delete(job_key(record.job_id))

    assert record.job_id not in ids_of(client)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"limit": 101}, "limit: Input should be less than or equal to 100"),
        ({"limit": "ten"}, "limit: Input should be a valid integer"),
        ({"status": "done"}, "status: Input should be 'processing', 'completed' or 'failed'"),
        ({"stage": "mastering"}, "stage: Input should be 'queued', 'audio_separation'"),
        ({"cursor": ""}, "This cursor is none that GET /jobs gave"),
        ({"cursor": "!!!"}, "This cursor is none that GET /jobs gave"),
        ({"cursor": "Li4vLi4vam9icw"}, "This cursor is none that GET /jobs gave"),
    ],
)
def test_a_question_that_makes_no_sense_is_400_with_a_sentence(
    client: httpx.Client, query: dict[str, Any], sentence: str
) -> None:
    answer = client.get("/jobs", params=query)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize(("origin", "may"), [("https://ours.example", True), ("https://evil.example", False)])
def test_only_pages_of_named_origins_may_list_and_delete(
    client: httpx.Client, origin: str, may: bool
) -> None:
    listed = client.get("/jobs", headers={"Origin": origin})
    asked = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
    may_delete = client.options("/job/x", headers=asked)
    polled = client.get("/health", headers={"Origin": origin})

    assert ("access-control-allow-origin" in listed.headers) == may
    assert (may_delete.status_code == 200) == may
    assert ("access-control-allow-origin" in may_delete.headers) == may
    assert polled.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in {**listed.headers, **polled.headers}


def test_without_named_origins_no_page_may(serve: Serve) -> None:
    with serve().client() as client:
        listed = client.get("/jobs", headers={"Origin": "https://any.example"})
    assert listed.status_code == 200
    assert "access-control-allow-origin" not in listed.headers


def test_openapi_describes_listing_and_deleting(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    listing = paths["/jobs"]["get"]
    assert sorted(each["name"] for each in listing["parameters"]) == ["cursor", "limit", "stage", "status"]
    assert sorted(listing["responses"]) == ["200", "400", "500", "503"]
    assert sorted(paths["/job/{job_id}"]["delete"]["responses"]) == ["204", "404", "500", "503"]
