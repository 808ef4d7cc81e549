"""POST /process: what is taken, and how everything else is refused."""

from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from contract.job import JobRecord
from contract.layout import job_key
from tests.api.conftest import Serve, Server
from tests.audio import chord, encode, song

SONG = song(0.5)


def post(
    client: httpx.Client, name: str = "song.wav", content: bytes = SONG, **fields: str
) -> httpx.Response:
    return client.post("/process", files={"file": (name, content)}, data=fields)


def keys(server: Server) -> list[str]:
    return [info.key for info in server.store.list("")]


def test_a_song_becomes_a_job_with_every_field_of_the_contract(server: Server, client: httpx.Client) -> None:
    answer = post(client)

    body = answer.json()
    assert answer.status_code == 200
    assert list(body)[:5] == ["job_id", "status", "created_at", "stages", "outputs"]
    assert body["status"] == "processing"
    assert body["outputs"] == {}
    assert body["created_at"].endswith("Z")
    assert [list(stage) for stage in body["stages"]] == [
        ["name", "processor_type", "status", "started_at", "completed_at", "error", "duration_seconds"]
    ] * 4
    assert [(stage["name"], stage["processor_type"], stage["status"]) for stage in body["stages"]] == [
        ("audio_separation", "separator", "pending"),
        ("harmonic_percussive_separation", "decomposition", "pending"),
        ("composite_track_creation", "composition", "pending"),
        ("normalization", "audio_processing", "pending"),
    ]
    assert client.get(body["links"]["self"]).json()["job_id"] == body["job_id"]


def stored_record(server: Server, answer: httpx.Response) -> JobRecord:
    found = server.store.get(job_key(answer.json()["job_id"]))
    assert found is not None
    return JobRecord.model_validate_json(found[0])


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg"])
def test_the_four_formats_are_taken_whatever_the_case_of_their_name(
    server: Server, client: httpx.Client, kind: str
) -> None:
    content = song(0.5, kind)

    answer = post(client, f"Song.{kind.upper()}", content)

    assert answer.status_code == 200
    record = stored_record(server, answer)
    assert b"".join(server.store.read(record.input.key, generation=record.input.generation)) == content


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('Пісня — "x" (final).WAV', 'Пісня — "x" (final).WAV'),
        ("C:\\music\\song.wav", "song.wav"),
        ("../../etc/song.wav", "song.wav"),
    ],
)
def test_the_file_name_is_kept_without_its_path(
    server: Server, client: httpx.Client, sent: str, kept: str
) -> None:
    answer = post(client, sent)

    assert answer.status_code == 200
    assert stored_record(server, answer).file_name == kept


@pytest.mark.parametrize("options_first", [True, False])
def test_options_stand_before_or_after_the_file(
    server: Server, client: httpx.Client, *, options_first: bool
) -> None:
    fields: list[tuple[str, Any]] = [
        ("normalization", (None, b"per_track")),
        ("target_lufs", (None, b"-16.5")),
        ("output_format", (None, b"flac")),
        ("other_method", (None, b"minus")),
    ]
    files = [("file", ("song.wav", SONG))]
    answer = client.post("/process", files=[*fields, *files] if options_first else [*files, *fields])

    assert answer.status_code == 200
    options = stored_record(server, answer).options
    assert options.model_dump() == {
        "model": "bundled",
        "normalization": "per_track",
        "target_lufs": -16.5,
        "output_format": "flac",
        "other_method": "minus",
        "callback_url": None,
    }


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no body": ({}, 400, "no_filename", "No filename provided"),
    "not a form": ({"json": {"file": "song.wav"}}, 400, "no_filename", "No filename provided"),
    "no file": ({"files": {"model": (None, b"bundled")}}, 400, "no_filename", "No filename provided"),
    "a file without name": ({"files": {"file": (None, SONG)}}, 400, "no_filename", "No filename provided"),
    "an empty name": ({"files": {"file": ("", SONG)}}, 400, "no_filename", "No filename provided"),
    "another format": (
        {"files": {"file": ("song.aac", SONG)}},
        400,
        "unsupported_format",
        "Unsupported audio format: .aac",
    ),
    "no extension": (
        {"files": {"file": ("song", SONG)}},
        400,
        "unsupported_format",
        "Unsupported audio format: song",
    ),
    "a text called wav": (
        {"files": {"file": ("song.wav", b"la la la " * 1000)}},
        400,
        "invalid_audio",
        "The file is not a WAV, FLAC, Ogg or MP3 file.",
    ),
    "an empty file": ({"files": {"file": ("song.wav", b"")}}, 400, "invalid_audio", "The file is empty."),
    "a flac called wav": (
        {"files": {"file": ("song.wav", song(0.5, "flac"))}},
        400,
        "invalid_audio",
        "The file is named .wav but its content is FLAC.",
    ),
    "six channels": (
        {"files": {"file": ("song.wav", song(0.5, channels=6))}},
        400,
        "invalid_audio",
        "The file has 6 channels; songs have one or two.",
    ),
    "no samples": (
        {"files": {"file": ("song.wav", encode(np.zeros((0, 2), np.float32)))}},
        400,
        "invalid_audio",
        "The file holds no audio.",
    ),
    "a rate of 100 Hz": (
        {"files": {"file": ("song.wav", song(0.5, rate=100))}},
        400,
        "invalid_audio",
        "A sample rate of 100 Hz is not supported; it must be 4000 to 384000 Hz.",
    ),
    "an unknown model": (
        {"files": {"file": ("song.wav", SONG)}, "data": {"model": "hf://me/evil"}},
        400,
        "unknown_model",
        "Unknown model: hf://me/evil. The models here are auto, htdemucs, bundled.",
    ),
    "an unknown option": (
        {"files": {"file": ("song.wav", SONG)}, "data": {"modle": "bundled"}},
        400,
        "invalid_option",
        "Unknown option: modle. The options are "
        "model, normalization, target_lufs, output_format, other_method, callback_url.",
    ),
    "a value out of range": (
        {"files": {"file": ("song.wav", SONG)}, "data": {"target_lufs": "3"}},
        400,
        "invalid_option",
        "Invalid target_lufs: Input should be less than or equal to 0.",
    ),
    "not a number": (
        {"files": {"file": ("song.wav", SONG)}, "data": {"target_lufs": "nan"}},
        400,
        "invalid_option",
        "Invalid target_lufs: Input should be a finite number.",
    ),
    "an option too long": (
        {"files": {"file": ("song.wav", SONG)}, "data": {"model": "x" * 5000}},
        400,
        "invalid_option",
        "The option model is too long.",
    ),
    "two files": (
        {"files": [("file", ("a.wav", SONG)), ("file", ("b.wav", SONG))]},
        400,
        "invalid_request",
        "One upload holds one file.",
    ),
    "a broken form": (
        {"content": b"no boundary here", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        400,
        "invalid_request",
        "The multipart form is broken.",
    ),
    "half a form": (
        {
            "content": b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + SONG,
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
        400,
        "invalid_request",
        "The upload ended in the middle of the form.",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_says_why_and_leaves_nothing(server: Server, client: httpx.Client, what: str) -> None:
    request, status, code, detail = REFUSED[what]
    before = keys(server)

    answer = client.post("/process", **request)

    assert (answer.status_code, answer.json()) == (status, {"detail": detail, "code": code})
    assert keys(server) == before
    assert [path.name for path in (server.folder / "store" / ".tmp").iterdir()] in ([], ["lock"])


def test_a_song_over_the_duration_limit_is_refused(serve: Serve) -> None:
    server = serve(STEMJOB_MAX_DURATION_SECONDS="2")
    with server.client() as client:
        assert post(client, content=song(2.0)).status_code == 200
        answer = post(client, content=song(2.5))

    assert answer.status_code == 400
    assert answer.json()["code"] == "duration_exceeded"


def test_the_same_key_and_upload_are_one_job(server: Server, client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "key-1"}
    first = client.post("/process", files={"file": ("song.wav", SONG)}, headers=headers)
    before = [key for key in keys(server) if "input" in key]
    again = client.post("/process", files={"file": ("song.wav", SONG)}, headers=headers)

    assert first.status_code == again.status_code == 200
    assert first.json()["job_id"] == again.json()["job_id"]
    assert [key for key in keys(server) if "input" in key] == before


def test_the_same_key_with_another_upload_is_refused(server: Server, client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "key-2"}
    client.post("/process", files={"file": ("song.wav", SONG)}, headers=headers)
    before = [key for key in keys(server) if "input" in key]

    other = client.post("/process", files={"file": ("song.wav", encode(chord(0.7)))}, headers=headers)
    option = client.post(
        "/process", files={"file": ("song.wav", SONG)}, data={"normalization": "off"}, headers=headers
    )

    for answer in (other, option):
        assert answer.status_code == 422
        assert answer.json()["code"] == "idempotency_key_reused"
    assert [key for key in keys(server) if "input" in key] == before
