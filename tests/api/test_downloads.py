"""Downloads: whole, in part, unchanged, all as a ZIP, and with clients that stand still."""

import io
import shutil
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import psutil
import pytest

from contract import clock
from contract.failures import FailureCode
from contract.layout import manifest_key, track_key
from contract.manifest import JobAnswer, Manifest
from contract.stages import StageName, Status, fail, pending_stages
from contract.tracks import Track
from tests.api.conftest import Serve, Server, add_finished_job, add_job, job_record, track_content
from tests.api.test_uploads import peak_resident_bytes, resident_bytes
from tests.testbed.requirements import missing_counterpart


@pytest.fixture(scope="module")
def job_id(server: Server) -> str:
    return add_finished_job(server.store, 'Пісня — "x" (final).wav')


def test_a_track_is_sent_whole_with_its_name_type_and_length(client: httpx.Client, job_id: str) -> None:
    answer = client.get(f"/download/{job_id}/vocals")

    assert answer.status_code == 200
    assert answer.content == track_content(Track.VOCALS)
    assert answer.headers["Content-Type"] == "audio/wav"
    assert answer.headers["Content-Length"] == "10000"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == (
        'attachment; filename="_____ _ _x_ (final) - vocals.wav"; '
        "filename*=UTF-8''%D0%9F%D1%96%D1%81%D0%BD%D1%8F%20%E2%80%94%20%22x%22%20%28final%29%20-%20vocals.wav"
    )


@pytest.mark.parametrize("name", ["vocals", "all"])
def test_head_is_get_without_the_body(client: httpx.Client, job_id: str, name: str) -> None:
    head, get = client.head(f"/download/{job_id}/{name}"), client.get(f"/download/{job_id}/{name}")

    assert head.status_code == 200
    assert head.content == b""
    same = ("Content-Length", "Content-Type", "ETag", "Content-Disposition", "Accept-Ranges")
    assert {key: head.headers[key] for key in same} == {key: get.headers[key] for key in same}


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=9990-", 9990, 10_000),
        ("bytes=-10", 9990, 10_000),
        ("bytes=5000-99999", 5000, 10_000),
        ("bytes=-99999", 0, 10_000),
        ("bytes=7-7", 7, 8),
    ],
)
def test_a_range_is_sent_as_206(client: httpx.Client, job_id: str, asked: str, start: int, end: int) -> None:
    answer = client.get(f"/download/{job_id}/drums", headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.content == track_content(Track.DRUMS)[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/10000"
    assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=10000-", "bytes=-0", "bytes=20000-30000"])
def test_a_range_past_the_end_is_416(client: httpx.Client, job_id: str, asked: str) -> None:
    answer = client.get(f"/download/{job_id}/drums", headers={"Range": asked})

    assert answer.status_code == 416
    assert answer.json()["code"] == "range_not_satisfiable"
    assert answer.headers["Content-Range"] == "bytes */10000"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=9-3", "bytes=-", "nonsense", "bytes=0-" + "9" * 5000]
)
def test_a_range_that_is_not_understood_means_the_whole(
    client: httpx.Client, job_id: str, asked: str
) -> None:
    answer = client.get(f"/download/{job_id}/drums", headers={"Range": asked})

    assert answer.status_code == 200
    assert len(answer.content) == 10_000


def test_a_client_that_has_it_already_is_told_so(client: httpx.Client, job_id: str) -> None:
    for name in ("bass", "all"):
        etag = client.get(f"/download/{job_id}/{name}").headers["ETag"]
        answer = client.get(f"/download/{job_id}/{name}", headers={"If-None-Match": f'"other", {etag}'})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag


def test_a_range_of_an_older_version_is_answered_with_the_whole(client: httpx.Client, job_id: str) -> None:
    etag = client.get(f"/download/{job_id}/bass").headers["ETag"]

    same = client.get(f"/download/{job_id}/bass", headers={"Range": "bytes=0-9", "If-Range": etag})
    other = client.get(f"/download/{job_id}/bass", headers={"Range": "bytes=0-9", "If-Range": '"old"'})

    assert (same.status_code, other.status_code) == (206, 200)


def test_the_zip_holds_the_nine_tracks_and_unzip_finds_no_error(
    client: httpx.Client, job_id: str, tmp_path: Path
) -> None:
    answer = client.get(f"/download/{job_id}/all")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"{track}.wav": track_content(track) for track in Track
        }
    part = client.get(f"/download/{job_id}/all", headers={"Range": "bytes=9999-30000"})
    assert (part.status_code, part.content) == (206, answer.content[9999:30001])
    (tmp_path / "tracks.zip").write_bytes(answer.content)
    if shutil.which("unzip") is None:
        missing_counterpart("unzip is not installed: apt-get install unzip")
    tested = subprocess.run(["unzip", "-t", tmp_path / "tracks.zip"], capture_output=True, check=False)
    assert tested.returncode == 0, tested.stdout


def test_the_zip_of_a_job_that_is_not_completed_is_409(server: Server, client: httpx.Client) -> None:
    unfinished = add_job(server.store, job_record())

    for answer in (
        client.get(f"/download/{unfinished}/all"),
        client.get(f"/download/{add_failed_job(server)}/all"),
    ):
        assert answer.status_code == 409
        assert answer.json()["code"] == "not_ready"


def add_failed_job(server: Server) -> str:
    record = job_record()
    answer = JobAnswer(
        job_id=record.job_id,
        status=Status.FAILED,
        created_at=record.created_at,
        stages=fail(pending_stages(), StageName.SEPARATION, clock.now(), "The song holds NaN."),
        code=FailureCode.INVALID_AUDIO,
        error="The song holds NaN.",
    )
    add_job(server.store, record)
    manifest = Manifest(answer=answer, file_name="song.wav", finished_at=clock.now())
    server.store.put(manifest_key(record.job_id), manifest.to_json(), content_type="application/json")
    return record.job_id


def test_a_failed_job_says_so_on_the_job_and_on_the_stage(server: Server, client: httpx.Client) -> None:
    body = client.get(f"/job/{add_failed_job(server)}").json()

    assert (body["status"], body["code"], body["error"]) == ("failed", "invalid_audio", "The song holds NaN.")
    assert [(stage["status"], stage["error"]) for stage in body["stages"]] == [
        ("failed", "The song holds NaN."),
        ("pending", None),
        ("pending", None),
        ("pending", None),
    ]


@pytest.mark.parametrize(
    "unknown",
    [
        "6f2c1e9a-4b7d-4c3e-9a51-0d8e7f6a5b4c",
        "a1b2c3d4",
        "00000000-0000-0000-0000-000000000000",
        "%2e%2e",
        "x" * 2000,
    ],
)
def test_an_unknown_job_is_404_everywhere(client: httpx.Client, unknown: str) -> None:
    for path in (f"/job/{unknown}", f"/job/{unknown}/outputs", f"/download/{unknown}/all"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": "Job not found", "code": "job_not_found"},
        )


def test_an_unknown_or_unwritten_track_is_404(server: Server, client: httpx.Client, job_id: str) -> None:
    unfinished = add_job(server.store, job_record())

    for path in (f"/download/{job_id}/guitar", f"/download/{unfinished}/vocals"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": "Track not found", "code": "track_not_found"},
        )


def test_outputs_are_the_places_of_the_nine_tracks(server: Server, client: httpx.Client, job_id: str) -> None:
    outputs = client.get(f"/job/{job_id}/outputs").json()

    assert list(outputs) == [
        "vocals",
        "drums",
        "bass",
        "other",
        "harmonic",
        "percussive",
        "main",
        "main_harmonic",
        "main_percussive",
    ]
    assert outputs["vocals"].endswith(f"{job_id}/demucs_output/vocals.wav")
    assert outputs["harmonic"].endswith(f"{job_id}/harmonic_percussive/harmonic.wav")
    assert outputs["main"].endswith(f"{job_id}/composite/main.wav")
    assert client.get(f"/job/{job_id}").json()["outputs"] == outputs


def test_a_track_that_vanished_is_not_found(server: Server, client: httpx.Client) -> None:
    job = add_finished_job(server.store)
    server.store.delete(track_key(job, Track.BASS, "wav"))

    answer = client.get(f"/download/{job}/bass")

    assert answer.status_code == 404
    assert answer.json()["code"] == "track_not_found"


def test_with_200_stalled_downloads_health_and_a_poll_still_answer(serve: Serve) -> None:
    server = serve(STEMJOB_TRANSFERS="200")
    assert server.process is not None
    job = add_finished_job(server.store, track_bytes=20_000_000)
    place = urlsplit(server.url)
    before = resident_bytes(server.process.pid)
    connections = []
    try:
        for number in range(200):
            connection = socket.create_connection((place.hostname, place.port or 0), timeout=10)
            name = "all" if number % 2 else "main"
            connection.sendall(f"GET /download/{job}/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connections.append(connection)
        assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in connections)
        time.sleep(1)  # every sender has run into its full socket

        with server.client() as client:
            assert client.get("/health").status_code == 200
            assert client.get(f"/job/{job}").json()["status"] == "completed"
            refused = client.get(f"/download/{job}/main")
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert peak_resident_bytes(server.process.pid) - before < 200 * 2**20
    finally:
        for connection in connections:
            connection.close()
    with server.client() as client:
        for _ in range(50):
            answer = client.get(f"/download/{job}/main")
            if answer.status_code == 200:
                break
            time.sleep(0.1)
    assert answer.content == track_content(Track.MAIN, 20_000_000)


def open_connections(server: Server) -> int:
    assert server.process is not None
    connections = psutil.Process(server.process.pid).net_connections()
    return sum(connection.status != psutil.CONN_LISTEN for connection in connections)


def test_a_download_that_stands_still_is_cut_off(serve: Serve) -> None:
    server = serve(STEMJOB_TRANSFER_IDLE_SECONDS="1", STEMJOB_TRANSFERS="1")
    job = add_finished_job(server.store, track_bytes=50_000_000)
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port or 0), timeout=10) as connection:
        connection.sendall(f"GET /download/{job}/main HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(0.5)
        assert open_connections(server) == 1
        for _ in range(100):  # the client reads nothing, and still its connection goes
            if open_connections(server) == 0:
                break
            time.sleep(0.1)
        assert open_connections(server) == 0
        with server.client() as client:
            assert client.head(f"/download/{job}/bass").status_code == 200

    assert any(line["event"] == "download_stalled" for line in server.log_lines())
