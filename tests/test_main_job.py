"""The main job as its user does it: upload over HTTP, the real runner, nine tracks back."""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import psutil
import pytest
import soundfile
from numpy.typing import NDArray

from contract.tracks import Track
from tests.api.conftest import Server
from tests.audio import chord, encode, song
from training.evaluate import si_sdr
from training.synthesis import synthesize

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("main-job"), {"STEMJOB_SWEEP_SECONDS": "2"}).start()
    yield server
    server.stop()


def separate(server: Server, name: str, content: bytes, **options: str) -> dict[str, Any]:
    """The job's last answer."""
    with server.client() as client:
        answer = client.post("/process", files={"file": (name, content)}, data=options)
        return wait_for_the_end(client, answer)


def wait_for_the_end(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The last answer about a job that was just made."""
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    deadline = time.monotonic() + 120
    while job["status"] == "processing":
        assert time.monotonic() < deadline
        time.sleep(0.2)
        job = client.get(job["links"]["self"]).json()
    return job


def download(server: Server, job: dict[str, Any]) -> dict[Track, Samples]:
    """Every track as samples of shape (frames, channels)."""
    tracks = {}
    with server.client() as client:
        for track in Track:
            content = client.get(f"/download/{job['job_id']}/{track}").content
            tracks[track], _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return tracks


@pytest.mark.parametrize(
    ("kind", "output_format", "subtype", "rounding"),
    [
        ("wav", "wav", "PCM_16", 2**-15),
        ("mp3", "wav24", "PCM_24", 2**-23),
        ("ogg", "wav32f", "FLOAT", 1e-6),
        ("flac", "flac", "PCM_24", 2**-23),
    ],
)
def test_every_format_goes_in_and_every_output_format_comes_out(
    server: Server, kind: str, output_format: str, subtype: str, rounding: float
) -> None:
    job = separate(
        server, f'Пісня — "x" (final).{kind.upper()}', song(1.0, kind), output_format=output_format
    )

    assert job["status"] == "completed", job
    assert list(job["outputs"]) == list(Track)
    with server.client() as client:
        with client.stream("GET", f"/download/{job['job_id']}/main") as answer:
            content = answer.read()
        archive = zipfile.ZipFile(io.BytesIO(client.get(job["links"]["all"]).content))
    extension = "flac" if output_format == "flac" else "wav"
    assert answer.headers["Content-Type"] == f"audio/{extension}"
    assert soundfile.info(io.BytesIO(content)).subtype == subtype
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == sorted(f"{track}.{extension}" for track in Track)
    tracks = download(server, job)
    assert {samples.shape for samples in tracks.values()} == {(44_100, 2)}
    for left, right, total in (
        (Track.MAIN_HARMONIC, Track.MAIN_PERCUSSIVE, tracks[Track.MAIN]),
        (
            Track.HARMONIC,
            Track.PERCUSSIVE,
            tracks[Track.DRUMS] + tracks[Track.BASS] + tracks[Track.OTHER],
        ),
    ):
        assert np.abs(tracks[left] + tracks[right] - total).max() <= 3 * rounding


def test_the_answer_tells_the_whole_story(server: Server) -> None:
    job = separate(server, "song.wav", song(2.0))

    assert job["progress"] == 1.0
    assert [stage["status"] for stage in job["stages"]] == ["completed"] * 4
    times = [
        (datetime.fromisoformat(stage["started_at"]), datetime.fromisoformat(stage["completed_at"]))
        for stage in job["stages"]
    ]
    assert sorted(began for began, _ in times) == [began for began, _ in times]
    assert sorted(ended for _, ended in times) == [ended for _, ended in times]
    for stage, (began, ended) in zip(job["stages"], times, strict=True):
        assert stage["duration_seconds"] == pytest.approx((ended - began).total_seconds(), abs=1e-6)
    result = job["result"]
    assert (result["seconds"], result["sample_rate"], result["channels"]) == (2.0, 44_100, 2)
    assert (result["model"]["asked"], result["model"]["name"]) == ("bundled", "bundled")
    assert result["device"]
    assert set(result["tracks"]) == set(Track)
    main = result["tracks"]["main"]
    assert main["loudness_after"] == pytest.approx(main["loudness_before"] + main["gain_db"], abs=1e-6)


def invalid(kind: str) -> bytes:
    samples = chord(2.0)
    match kind:
        case "nan":
            samples[50_000, 0] = np.nan
        case "infinity":
            samples[50_000, 1] = np.inf
    content = encode(samples, subtype="FLOAT")
    return content[: len(content) // 2] if kind == "cut short" else content


@pytest.mark.parametrize("kind", ["nan", "infinity", "cut short"])
def test_what_only_decoding_can_tell_fails_the_job_and_not_the_request(server: Server, kind: str) -> None:
    job = separate(server, "song.wav", invalid(kind))

    assert (job["status"], job["code"]) == ("failed", "invalid_audio")
    assert [stage["status"] for stage in job["stages"]] == ["failed", "pending", "pending", "pending"]
    assert job["stages"][0]["error"] == job["error"]
    assert job["error"].endswith(".")
    assert "Traceback" not in job["error"]
    with server.client() as client:
        assert client.get(f"/download/{job['job_id']}/vocals").json()["code"] == "track_not_found"


def test_the_stems_come_out_closer_to_the_truth_than_the_mixture_is(server: Server) -> None:
    held_out_seed = 1_000_101
    stems = {name: stem.T for name, stem in synthesize(held_out_seed, 12.0).items()}
    mixture = np.sum(list(stems.values()), axis=0)

    job = separate(
        server, "song.wav", encode(mixture, subtype="FLOAT"), normalization="off",
        output_format="wav32f",
    )  # fmt: skip

    tracks = download(server, job)
    # Measured: drums +11.9 dB, bass +12.3, other +6.8, vocals +7.2.
    for name, improvement in (("drums", 10.5), ("bass", 10.8), ("other", 5.6), ("vocals", 6.0)):
        assert si_sdr(tracks[Track(name)], stems[name]) > si_sdr(mixture, stems[name]) + improvement, name


def run_demo(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.demo", *arguments],
        cwd=folder,
        env=demo_environment(**more),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def processes_in(folder: Path) -> list[str]:
    """What runs with this working folder: the demo, its API and its runner inherit it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.append(" ".join(process.cmdline()))
    return found


def demo_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("stemjob-demo-*"))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_that_is_stopped_takes_everything_with_it(tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "song.wav").write_bytes(song(30.0))
    before = demo_folders()
    demo = subprocess.Popen(
        [sys.executable, "-m", "scripts.demo", "song.wav"],
        cwd=tmp_path,
        env=demo_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "processing" in line:
            break
    assert len(processes_in(tmp_path)) == 3

    demo.send_signal(stop)
    demo.communicate(timeout=60)

    assert demo.returncode == 130
    assert processes_in(tmp_path) == []
    assert demo_folders() == before


def demo_environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "STEMJOB_MODEL": "bundled",
        **more,
    }


def test_the_demo_shows_stages_leaves_nine_files_and_a_table_and_stops_what_it_started(
    tmp_path: Path,
) -> None:
    (tmp_path / "my song.flac").write_bytes(song(2.0, "flac"))

    demo = run_demo(tmp_path, "my song.flac")

    assert demo.returncode == 0, demo.stderr
    lines = demo.stdout.splitlines()
    assert any("normalization" in line and "completed in" in line for line in lines)
    for track in Track:
        assert soundfile.info(tmp_path / "demo-output" / f"{track}.wav").frames == 88_200
        row = next(line for line in lines if line.startswith(f"{track} "))
        assert f"demo-output/{track}.wav" in row
        assert "2.00" in row
    assert any(line.startswith("Model bundled, computed on") for line in lines)
    assert processes_in(tmp_path) == []


def test_the_demo_says_in_a_sentence_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("la la la")

    missing, text = run_demo(tmp_path, "nothing.mp3"), run_demo(tmp_path, "text.wav")
    setting = run_demo(tmp_path, "text.wav", STEMJOB_MODEL="none")

    assert (missing.returncode, missing.stderr) == (1, "There is no song at nothing.mp3.\n")
    assert text.returncode == 1
    assert text.stderr == "The upload was refused: The file is not a WAV, FLAC, Ogg or MP3 file.\n"
    assert setting.returncode == 1
    assert setting.stderr == (
        "The API did not start: STEMJOB_MODEL is 'none', which is not in STEMJOB_MODELS.\n"
    )
