"""`python -m runner` as a launcher starts it: processes, signals, memory."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from contract.failures import FailureCode
from contract.stages import Status
from contract.tracks import FOLDERS
from tests.runner.jobs import Job, catches_sigterm, terminate, write_song
from tests.runner.signals import music
from tests.runner.tiny_models import save_cheapest

MEMORY_MARGIN_BYTES = 64 * 2**20


@pytest.fixture
def job(tmp_path: Path, tiny_model: Path) -> Job:
    return Job(tmp_path, tiny_model)


def test_two_runs_give_the_same_bytes(tmp_path: Path, tiny_model: Path) -> None:
    contents = []
    for name, threads in (("one", "1"), ("two", "1")):
        job = Job(tmp_path / name, tiny_model)
        (tmp_path / name).mkdir(exist_ok=True)
        job.create(write_song(tmp_path / name / "song.wav", music(66_000)), output_format="wav32f")
        ended = job.run(STEMJOB_THREADS=threads)
        assert ended.code == 0, ended.log
        assert job.leftovers() == []
        contents.append(job.bytes_of_tracks())
        time.sleep(1.1)  # formats that hold a time hold whole seconds
    assert contents[0] == contents[1]
    assert len(set(contents[0].values())) == len(FOLDERS)


def test_the_log_is_json_with_the_job_s_id(job: Job) -> None:
    ended = job.run()
    assert ended.code == 0
    assert '"job_id": "11111111-2222-4333-8444-555555555555"' in ended.log
    assert "there is no job.json" in ended.log


def test_a_failure_is_a_code_and_not_a_traceback(job: Job) -> None:
    samples = music(30_000)
    samples[0, 20_000] = np.inf
    ended = job.create(write_song(job.folder / "song.wav", samples)).run()
    assert ended.code == 65
    assert "Traceback" not in ended.log
    manifest = job.manifest()
    assert manifest is not None
    assert manifest.answer.code is FailureCode.INVALID_AUDIO


@pytest.mark.parametrize("moment", ["at once", "in mid-song"])
def test_sigterm_ends_a_runner_with_nothing_half_written(job: Job, moment: str) -> None:
    silence = np.zeros((1, 8000 * 600), np.float32)
    job.create(write_song(job.folder / "song.flac", silence, 8000, "PCM_16"))
    process = job.start()
    deadline = time.monotonic() + 120

    def is_there() -> bool:
        if moment == "at once":
            return catches_sigterm(process)
        return job.report_file.exists() and job.progress().progress > 0.02

    while not is_there() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert terminate(process) == 143
    assert job.manifest() is None
    assert [info.key.split("/")[-1] for info in job.store.list("jobs/")] == ["input.flac", "job.json"]
    assert job.leftovers() == []
    if moment == "in mid-song":
        report = job.progress()
        assert report.failure is not None
        assert report.failure.code is FailureCode.CANCELLED
        assert report.stages[0].status is Status.FAILED


@pytest.mark.timeout(900)
def test_fifteen_minutes_take_no_more_memory_than_three(tmp_path: Path) -> None:
    peaks = []
    model = save_cheapest(tmp_path / "cheapest.safetensors")
    for minutes in (3, 15):
        folder = tmp_path / str(minutes)
        folder.mkdir()
        path = folder / "song.flac"
        second = music(8000, channels=1, rate=8000)
        with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_16") as file:
            for _ in range(60 * minutes):
                file.write(second.T)
        ended = Job(folder, model).create(path).run()
        assert ended.code == 0, ended.log
        peaks.append(ended.peak_bytes)
    assert peaks[1] - peaks[0] <= MEMORY_MARGIN_BYTES, [peak / 2**20 for peak in peaks]
