"""POST /uploads: songs that go straight to the bucket, and become jobs by their id."""

import os
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest

from api.direct_uploads import Announcement
from api.sweep.unsettled import UPLOAD_ABANDONED_AFTER
from api.webhooks import announce as announce_webhook
from contract.job import JobRecord
from contract.layout import input_key, job_key, upload_key
from contract.stores import DirectStore
from tests.api.buckets import bucket_of, send, serving_from_a_bucket
from tests.api.conftest import Server
from tests.audio import song
from tests.testbed.gcs import GcsServer

SONG = song(0.5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gcs_server: GcsServer) -> Iterator[Server]:
    with serving_from_a_bucket(
        tmp_path_factory.mktemp("direct"),
        gcs_server,
        STEMJOB_MAX_FILE_SIZE_MB="1",
        STEMJOB_CALLBACK_HOSTS="127.0.0.1",
        STEMJOB_WEBHOOK_SECRET="whsec_" + "c2VjcmV0" * 4,
    ) as server:
        yield server


@pytest.fixture
def bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> DirectStore:
    return bucket_of(server.environment, monkeypatch)


@pytest.fixture(scope="module")
def folder_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("folder")).start()
    yield server
    server.stop()


def announce(client: httpx.Client, name: str = "song.wav", size: int = len(SONG)) -> dict[str, Any]:
    answer = client.post("/uploads", json={"filename": name, "size": size})
    assert answer.status_code == 200, answer.text
    offer: dict[str, Any] = answer.json()
    return offer


def process(client: httpx.Client, upload_id: str, **fields: str) -> httpx.Response:
    form = {"upload_id": upload_id, **fields}
    return client.post("/process", files={name: (None, text) for name, text in form.items()})


def test_a_song_that_was_sent_to_the_bucket_becomes_a_job(client: httpx.Client, bucket: DirectStore) -> None:
    offer = announce(client, "C:\\music\\Пісня 1.WAV")
    assert offer["method"] == "PUT"
    assert offer["headers"] == {"Content-Type": "audio/wav"}
    assert send(offer, SONG) == 200

    answer = process(client, offer["upload_id"], normalization="off")

    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "processing"
    found = bucket.get(job_key(answer.json()["job_id"]))
    assert found is not None
    record = JobRecord.model_validate_json(found[0])
    assert (record.file_name, record.options.normalization) == ("Пісня 1.WAV", "off")
    assert record.input.size == len(SONG)
    assert b"".join(bucket.read(record.input.key, generation=record.input.generation)) == SONG


def test_sent_again_it_is_the_same_job_and_with_other_options_none(client: httpx.Client) -> None:
    offer = announce(client)
    send(offer, SONG)
    first = process(client, offer["upload_id"])

    again = process(client, offer["upload_id"])
    other = process(client, offer["upload_id"], normalization="off")

    assert first.json()["job_id"] == again.json()["job_id"] == offer["upload_id"]
    assert (other.status_code, other.json()["code"]) == (409, "upload_used")
    assert client.get(f"/job/{offer['upload_id']}").status_code == 200


def test_a_request_that_died_in_the_middle_can_be_sent_again(
    client: httpx.Client, bucket: DirectStore
) -> None:
    offer = announce(client)
    send(offer, SONG)
    announce_webhook(bucket, offer["upload_id"])  # as far as the first request got

    answer = process(client, offer["upload_id"], callback_url="http://127.0.0.1:9/")

    assert answer.status_code == 200, answer.text


def test_whoever_has_the_link_cannot_replace_what_was_sent(client: httpx.Client, bucket: DirectStore) -> None:
    offer = announce(client)
    send(offer, SONG)
    key = input_key(offer["upload_id"], "wav")
    before = bucket.stat(key)

    send(offer, b"something else")

    assert before is not None
    assert bucket.stat(key) == before
    assert b"".join(bucket.read(key)) == SONG


@pytest.mark.parametrize(
    "upload_id", ["", "a1b2", "6f2c1e9a-4b7d-4c3e-9a51-0d8e7f6a5b4c", "../../jobs", "x" * 4000]
)
def test_an_unknown_upload_is_not_found(client: httpx.Client, upload_id: str) -> None:
    answer = process(client, upload_id)

    assert answer.status_code == 404
    assert answer.json() == {
        "code": "upload_not_found",
        "detail": "There is no such upload, or it has expired; announce it again.",
    }


def test_an_upload_that_has_not_arrived_is_waited_for(client: httpx.Client) -> None:
    offer = announce(client)

    early = process(client, offer["upload_id"])
    send(offer, SONG)

    assert (early.status_code, early.json()["code"]) == (409, "upload_incomplete")
    assert process(client, offer["upload_id"]).status_code == 200


SENT: dict[str, tuple[str, bytes, int, str, str]] = {
    "a text": ("song.wav", b"la " * 9, 400, "invalid_audio", "The file is not a WAV, FLAC, Ogg or MP3 file."),
    "another format": (
        "song.wav",
        song(0.5, "flac"),
        400,
        "invalid_audio",
        "The file is named .wav but its content is FLAC.",
    ),
    "less than was announced": (
        "song.wav",
        song(0.25),
        400,
        "invalid_audio",
        f"The song has {len(song(0.25))} bytes, but {len(SONG)} were announced; announce it again.",
    ),
    "more than is allowed": (
        "song.wav",
        SONG + bytes(1_000_000),
        413,
        "too_large",
        "The file is larger than 1 MB.",
    ),
}


@pytest.mark.parametrize("what", SENT)
def test_what_lies_in_the_bucket_is_judged_as_every_other_upload(
    client: httpx.Client, bucket: DirectStore, what: str
) -> None:
    name, content, status, code, detail = SENT[what]
    offer = announce(client, name)
    # The emulator does not hold senders to the announced size.
    bucket.put(input_key(offer["upload_id"], "wav"), content, content_type="audio/wav")

    answer = process(client, offer["upload_id"])

    assert (answer.status_code, answer.json()) == (status, {"detail": detail, "code": code})
    assert client.get(f"/job/{offer['upload_id']}").status_code == 404


REFUSED: dict[str, tuple[Any, int, str, str]] = {
    "no name": ({"size": 5}, 400, "no_filename", "No filename provided"),
    "no size": (
        {"filename": "a.wav"},
        400,
        "invalid_request",
        "The request is not understood: size: Field required.",
    ),
    "a negative size": (
        {"filename": "a.wav", "size": -1},
        400,
        "invalid_request",
        "The request is not understood: size: Input should be greater than or equal to 0.",
    ),
    "an empty song": ({"filename": "a.wav", "size": 0}, 400, "invalid_audio", "The file is empty."),
    "another format": (
        {"filename": "a.aac", "size": 5},
        400,
        "unsupported_format",
        "Unsupported audio format: .aac",
    ),
    "a song too large": (
        {"filename": "a.wav", "size": 1_000_001},
        413,
        "too_large",
        "The file is larger than 1 MB.",
    ),
    "a name too long": (
        {"filename": "a" * 252 + ".wav", "size": 5},
        400,
        "invalid_request",
        "A file's name has at most 255 characters.",
    ),
    "not an object": (
        [],
        400,
        "invalid_request",
        "The request is not understood: body: Input should be an object.",
    ),
    "a body too long": (
        {"filename": "a" * 70_000, "size": 1},
        400,
        "invalid_request",
        "The request's body is too long.",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_announcement_that_cannot_become_a_song_is_refused(
    client: httpx.Client, bucket: DirectStore, what: str
) -> None:
    content, status, code, detail = REFUSED[what]
    before = list(bucket.list(""))

    answer = client.post("/uploads", json=content)

    assert (answer.status_code, answer.json()) == (status, {"detail": detail, "code": code})
    assert list(bucket.list("")) == before


@pytest.mark.parametrize("file_first", [True, False])
def test_a_file_and_an_upload_id_together_are_refused(client: httpx.Client, *, file_first: bool) -> None:
    parts: list[tuple[str, Any]] = [("file", ("song.wav", SONG)), ("upload_id", (None, str(uuid.uuid4())))]

    answer = client.post("/process", files=parts if file_first else parts[::-1])

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["detail"] == "Send a file or the upload_id of one, not both."


def test_a_store_that_others_cannot_reach_takes_no_direct_uploads(
    folder_server: Server,
) -> None:
    with folder_server.client() as client:
        answer = client.post("/uploads", json={"filename": "song.wav", "size": 5})

    assert (answer.status_code, answer.json()["code"]) == (501, "uploads_unavailable")


@pytest.mark.parametrize(("age", "code"), [(54, "upload_incomplete"), (56, "upload_not_found")])
def test_an_upload_expires_before_the_sweep_deletes_it(folder_server: Server, age: int, code: str) -> None:
    upload_id, store = str(uuid.uuid4()), folder_server.store
    announcement = Announcement(file_name="song.wav", size=5)
    store.put(upload_key(upload_id), announcement.to_json(), content_type="application/json")
    announced = time.time() - 60 * age
    os.utime(folder_server.folder / "store" / upload_key(upload_id), (announced, announced))

    with folder_server.client() as client:
        answer = process(client, upload_id)

    assert answer.json()["code"] == code
    assert timedelta(minutes=56) < UPLOAD_ABANDONED_AFTER
