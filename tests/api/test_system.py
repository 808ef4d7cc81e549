"""What holds for every answer: health, configuration, headers, errors, CORS, start-up."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from contract.layout import job_key
from tests.api.conftest import REPOSITORY, Serve, Server


def test_health_is_the_contracts(client: httpx.Client) -> None:
    answer = client.get("/health")

    assert answer.status_code == 200
    assert answer.content == b'{"status":"healthy","version":"1.0.0","pipeline_stages":4}'


def test_config_is_the_contracts_and_may_say_more(client: httpx.Client) -> None:
    body = client.get("/config").json()

    assert body["max_file_size_mb"] == 500
    assert body["supported_formats"] == ["wav", "mp3", "flac", "ogg"]
    assert body["pipeline_stages"] == [
        {"name": "audio_separation", "processor_type": "separator"},
        {"name": "harmonic_percussive_separation", "processor_type": "decomposition"},
        {"name": "composite_track_creation", "processor_type": "composition"},
        {"name": "normalization", "processor_type": "audio_processing"},
    ]
    assert body["models"] == ["auto", "htdemucs", "bundled"]


def test_every_answer_carries_version_and_request_id(client: httpx.Client) -> None:
    for path in ("/health", "/job/unknown", "/nowhere"):
        first, second = client.get(path), client.get(path)
        assert first.headers["X-API-Version"] == "1.0.0"
        assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


def test_a_clients_request_id_is_kept_when_it_is_sane(client: httpx.Client) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    assert client.get("/health", headers={"X-Request-ID": "a b;c"}).headers["X-Request-ID"] != "a b;c"


def test_every_error_is_a_sentence_and_a_code(client: httpx.Client) -> None:
    for answer, status, code in (
        (client.get("/nowhere"), 404, "not_found"),
        (client.get("/process"), 405, "method_not_allowed"),
        (client.delete("/health"), 405, "method_not_allowed"),
    ):
        body = answer.json()
        assert answer.status_code == status
        assert body["code"] == code
        assert isinstance(body["detail"], str)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_pages_of_every_origin_may_use_the_contract(client: httpx.Client, method: str) -> None:
    origin = {"Origin": "https://example.org"}
    preflight = client.options("/process", headers={**origin, "Access-Control-Request-Method": method})

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    assert client.get("/health", headers=origin).headers["Access-Control-Allow-Origin"] == "*"
    assert client.get("/job/x", headers=origin).headers["Access-Control-Allow-Origin"] == "*"


def test_pages_may_not_delete(client: httpx.Client) -> None:
    preflight = client.options(
        "/process",
        headers={"Origin": "https://example.org", "Access-Control-Request-Method": "DELETE"},
    )

    assert preflight.status_code == 400


def test_the_log_is_json_with_request_and_job_ids(server: Server, client: httpx.Client) -> None:
    client.get("/job/some-job", headers={"X-Request-ID": "find-me"})

    lines: list[dict[str, Any]] = []
    for _ in range(50):  # the line is written after the answer has gone
        lines = lines or [line for line in server.log_lines() if line.get("request_id") == "find-me"]
        time.sleep(0.02)
    assert [
        (line["event"], line["method"], line["path"], line["status"], line["job_id"]) for line in lines
    ] == [("request", "GET", "/job/some-job", 404, "some-job")]


def test_openapi_describes_every_answer(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()

    answers = {
        f"{method.upper()} {path}": sorted(operation["responses"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert answers["POST /process"] == ["200", "400", "404", "408", "409", "413", "422", "500", "503"]
    assert answers["GET /job/{job_id}"] == ["200", "404", "500", "503"]
    assert answers["GET /job/{job_id}/events"] == ["200", "404", "500", "503"]
    download = {"200", "206", "304", "307", "404", "416", "500", "503"}
    assert set(answers["GET /download/{job_id}/all"]) == {*download, "409"}
    assert set(answers["GET /download/{job_id}/{track_name}"]) == download
    form = document["paths"]["/process"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) >= {
        "file",
        "model",
        "normalization",
        "target_lufs",
        "output_format",
        "callback_url",
    }
    assert "HTTPValidationError" not in json.dumps(document["paths"])


@pytest.mark.parametrize("path", ["/health", "/config"])
def test_head_answers_without_a_body(client: httpx.Client, path: str) -> None:
    answer = client.head(path)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(client.get(path).content))


def test_an_unexpected_error_is_an_answer_that_pages_can_read(server: Server, client: httpx.Client) -> None:
    job_id = str(uuid.uuid4())
    server.store.put(job_key(job_id), b"not a record", content_type="application/json")

    answer = client.get(f"/job/{job_id}", headers={"Origin": "https://example.org"})

    assert answer.status_code == 500
    assert answer.json() == {
        "detail": "The server met an unexpected error; its log says more.",
        "code": "internal_error",
    }
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Request-ID"]
    assert "not a record" not in answer.text


def test_headers_without_end_are_refused(server: Server) -> None:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port or 0), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                sent += connection.send(b"x" * 65536)

    assert sent < 10_000_000


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_server_ends_in_order_and_without_a_traceback(serve: Serve, stop: signal.Signals) -> None:
    server = serve()
    assert server.process is not None

    server.process.send_signal(stop)

    assert server.process.wait(20) == 0
    assert "Traceback" not in server.log_file.read_text()


def run_api(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"STEMJOB_STORE": f"file://{tmp_path}/store", "STEMJOB_STATE_DIR": f"{tmp_path}/state"}
    return subprocess.run(
        [sys.executable, "-m", "api"],
        env={**os.environ, "PORT": "0", **settings, **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_api(tmp_path, PORT=port)

    assert ended.returncode == 1
    assert ended.stderr == (
        f"Cannot serve on 127.0.0.1:{port}: Address already in use. Set PORT (or HOST) to another one.\n"
    )


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("STEMJOB_STORE", "ftp://x", "STEMJOB_STORE is 'ftp://x'"),
        ("STEMJOB_STORE", "gs:///songs", "STEMJOB_STORE is 'gs:///songs', which names no bucket"),
        ("STEMJOB_STORE", "gs://CHANGE-ME/songs", "but a bucket's URL is gs://<bucket>/<prefix>"),
        ("STEMJOB_MAX_FILE_SIZE_MB", "many", "STEMJOB_MAX_FILE_SIZE_MB is not right"),
        ("STEMJOB_LAUNCHER", "magic", "STEMJOB_LAUNCHER is not right"),
        ("STEMJOB_MODEL", "other", "STEMJOB_MODEL is 'other', which is not in STEMJOB_MODELS"),
        ("STEMJOB_SWEEP_SECONDS", "1e12", "STEMJOB_SWEEP_SECONDS is not right"),
        ("STEMJOB_STATE_DIR", "/proc/nowhere", "STEMJOB_STATE_DIR is /proc/nowhere, which cannot be used"),
        ("PORT", "http", "PORT"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, setting: str, value: str, says: str) -> None:
    ended = run_api(tmp_path, **{setting: value})

    assert ended.returncode == 1
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_without_a_bucket_the_api_makes_no_jobs_in_a_cluster(tmp_path: Path) -> None:
    ended = run_api(tmp_path, STEMJOB_LAUNCHER="kubernetes", STEMJOB_STORE="")

    assert ended.returncode == 1
    assert ended.stderr == (
        "STEMJOB_LAUNCHER is kubernetes, so STEMJOB_STORE must name a bucket: gs://<bucket>/<prefix>.\n"
    )


def test_a_second_api_with_the_same_state_folder_refuses_to_start(serve: Serve) -> None:
    server = serve()

    ended = run_api(server.folder, STEMJOB_STATE_DIR=f"{server.folder}/state")

    assert ended.returncode == 1
    assert ended.stderr.startswith("Another stemjob API already works in the state folder")
