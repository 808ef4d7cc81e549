"""/metrics: what was asked, refused and made, under labels that nobody can make up."""

import socket
import urllib.request
from pathlib import Path

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Serve, Server
from tests.api.test_system import run_api
from tests.audio import song

SONG = song(0.1)


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(STEMJOB_METRICS_PORT="0")


def scrape(server: Server) -> dict[tuple[str, frozenset[str]], float]:
    """Value by name and label values."""
    (port,) = (line["port"] for line in server.log_lines() if line["event"] == "metrics_served")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_happens_is_counted_on_a_port_of_its_own(server: Server, client: httpx.Client) -> None:
    for name in ("a", "b"):
        client.get(f"/job/{name}")
        client.get(f"/nowhere/{name}")
        client.request(f"STRANGE{name}", "/health")
    client.post("/process", files={"file": ("song.aac", SONG)})
    client.post("/process", files={"file": ("song.wav", SONG)})

    counted = scrape(server)

    def requests(*labels: str) -> float:
        return counted["stemjob_request_seconds_count", frozenset(labels)]

    assert requests("GET", "/job/{job_id}", "404") == 2
    assert requests("GET", "none", "404") == 2
    assert requests("other", "/health", "405") == 2
    assert requests("POST", "/process", "400") == 1
    assert requests("POST", "/process", "200") == 1
    assert counted["stemjob_refusals_total", frozenset({"job_not_found"})] == 2
    assert counted["stemjob_refusals_total", frozenset({"unsupported_format"})] == 1
    assert counted["stemjob_jobs_created_total", frozenset()] == 1
    assert counted["stemjob_uploaded_bytes_total", frozenset()] == len(SONG)
    assert counted["process_resident_memory_bytes", frozenset()] > 0
    assert client.get("/metrics").status_code == 404


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_api(tmp_path, STEMJOB_METRICS_PORT=port)

    assert ended.returncode == 1
    assert ended.stderr == (
        f"Cannot serve metrics on 127.0.0.1:{port}: Address already in use. "
        "Set STEMJOB_METRICS_PORT to another.\n"
    )
