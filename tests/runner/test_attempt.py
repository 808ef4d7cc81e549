"""One attempt at one job, in this process: exit codes, manifests, and what is left alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from contract.failures import EXITS, FailureCode, JobFailed
from contract.layout import input_key, job_key, manifest_key, track_key
from contract.progress import Progress
from contract.stages import Status, pending_stages
from contract.stores import StoreError, StoreFull
from contract.stores.filesystem import FileStore
from contract.tracks import Track
from runner import attempt
from runner.attempt import failure_of
from runner.cancelled import Cancelled
from runner.pipeline import Pipeline
from tests.runner.jobs import JOB_ID, Job, short_song, write_song
from tests.runner.signals import music
from tests.runner.tiny_models import save_tiny

pytestmark = pytest.mark.usefixtures("restored_threads")


def assert_failed_for_good(job: Job, code: FailureCode) -> str:
    """A permanent failure: report and manifest say the same, and no track was written."""
    manifest = job.manifest()
    assert manifest is not None
    answer = manifest.answer
    assert (answer.status, answer.code, answer.outputs) == (Status.FAILED, code, {})
    assert answer.error is not None
    assert answer.stages[0].status is Status.FAILED
    assert answer.stages[0].error == answer.error
    assert job.progress().failure is not None
    assert job.progress().stages == answer.stages
    assert not any(job.store.stat(track_key(JOB_ID, track, "wav")) for track in Track)
    return answer.error


def assert_failed_for_now(job: Job, code: FailureCode) -> str:
    """A failure that another attempt may mend: the report has it, the store does not."""
    failure = job.progress().failure
    assert failure is not None
    assert failure.code is code
    assert job.manifest() is None
    return failure.error


def test_a_song_comes_out_as_nine_tracks_and_a_manifest(job: Job) -> None:
    job.create(short_song(job))
    assert attempt.run() == 0
    manifest = job.manifest()
    assert manifest is not None
    assert manifest.answer.status is Status.COMPLETED
    assert [stage.status for stage in manifest.answer.stages] == [Status.COMPLETED] * 4
    for track, record in manifest.tracks.items():
        info = job.store.stat(record.key)
        assert info is not None
        assert (info.size, info.generation) == (record.size, record.generation)
        assert manifest.answer.outputs[track] == job.store.uri(record.key)
    assert list(manifest.answer.outputs) == list(Track)
    assert job.progress().progress == 1.0
    assert job.progress().stages == manifest.answer.stages
    assert set(manifest.versions) == {"stemjob", "python", "torch", "demucs", "numpy", "soundfile"}


def test_a_job_that_has_ended_is_left_alone(job: Job) -> None:
    job.create(short_song(job))
    assert attempt.run() == 0
    before = job.store.get(manifest_key(JOB_ID))
    assert attempt.run() == 0
    assert job.store.get(manifest_key(JOB_ID)) == before


@pytest.mark.parametrize("content", [None, b'{"deleted_at": "2026-01-01T00:00:00Z"}'])
def test_a_job_that_was_deleted_is_no_failure(job: Job, content: bytes | None) -> None:
    if content is not None:
        job.store.put(job_key(JOB_ID), content, content_type="application/json")
    assert attempt.run() == 0
    assert not job.report_file.exists()
    assert job.manifest() is None


def test_a_job_that_is_deleted_meanwhile_gets_no_tracks(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Pipeline.run

    def run(self: Pipeline, path: Path, options: object) -> object:
        finished = real(self, path, options)  # type: ignore[arg-type]
        job.store.delete_prefix(f"jobs/{JOB_ID}/")
        return finished

    monkeypatch.setattr(Pipeline, "run", run)
    job.create(short_song(job))
    assert attempt.run() == 0
    assert list(job.store.list("jobs/")) == []


def test_a_record_that_cannot_be_understood_is_a_failure(job: Job) -> None:
    record = json.loads(job.create(short_song(job)).store.get(job_key(JOB_ID))[0])  # type: ignore[index]
    changed = json.dumps({**record, "surprise": 1}).encode()
    job.store.put(job_key(JOB_ID), changed, content_type="application/json")
    assert attempt.run() == 75
    assert_failed_for_now(job, FailureCode.RUNNER_ERROR)


def test_audio_that_is_not_a_number_fails_for_good(job: Job) -> None:
    samples = music(30_000)
    samples[1, 29_000] = np.nan
    job.create(write_song(job.folder / "song.wav", samples))
    assert attempt.run() == 65
    assert "NaN" in assert_failed_for_good(job, FailureCode.INVALID_AUDIO)


def test_a_body_that_was_cut_short_fails_for_good(job: Job) -> None:
    path = short_song(job)
    path.write_bytes(path.read_bytes()[:-2000])
    job.create(path)
    assert attempt.run() == 65
    assert_failed_for_good(job, FailureCode.INVALID_AUDIO)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("/no/such/model", FailureCode.WEIGHTS_UNAVAILABLE),
        ("not-on-the-list", FailureCode.UNSUPPORTED_MODEL),
    ],
)
def test_a_model_that_cannot_be_had_fails_for_good(job: Job, model: str, code: FailureCode) -> None:
    job.create(short_song(job), model=model)
    assert attempt.run() == EXITS[code].code
    assert model in assert_failed_for_good(job, code)


@pytest.mark.parametrize("kind", ["damaged", "six sources"])
def test_weights_that_cannot_be_used_fail_for_good(
    job: Job, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sources = ["drums", "bass", "other", "vocals", "guitar", "piano"]
    if kind == "damaged":
        path, code = save_tiny(job.folder / "own.safetensors"), FailureCode.WEIGHTS_CORRUPT
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path, code = (
            save_tiny(job.folder / "own.safetensors", sources=sources),
            FailureCode.UNSUPPORTED_MODEL,
        )
    monkeypatch.setenv("STEMJOB_MODELS", str(path))
    job.create(short_song(job), model=str(path))
    assert attempt.run() == EXITS[code].code
    assert_failed_for_good(job, code)


def test_a_song_that_is_not_in_the_store_is_a_failure_for_now(job: Job) -> None:
    job.create(short_song(job))
    job.store.delete(input_key(JOB_ID, "wav"))
    assert attempt.run() == 75
    assert_failed_for_now(job, FailureCode.STORAGE_UNAVAILABLE)


def test_only_the_uploaded_generation_of_the_song_is_used(job: Job) -> None:
    job.create(short_song(job))
    job.store.put_file(input_key(JOB_ID, "wav"), short_song(job, 0.5), content_type="audio/wav")
    assert attempt.run() == 75
    assert_failed_for_now(job, FailureCode.STORAGE_UNAVAILABLE)


def test_a_store_that_breaks_at_the_end_leaves_no_manifest(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull("The disk of the store is full.")

    job.create(short_song(job))
    monkeypatch.setattr(FileStore, "put_file", full)
    assert attempt.run() == 75
    assert_failed_for_now(job, FailureCode.DISK_FULL)
    stages = job.progress().stages
    assert [stage.status for stage in stages] == [Status.COMPLETED] * 3 + [Status.FAILED]


def test_a_second_attempt_replaces_the_tracks_of_the_first(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.create(short_song(job))
    job.store.put(track_key(JOB_ID, Track.BASS, "wav"), b"half", content_type="audio/wav")
    assert attempt.run() == 0
    assert len(job.bytes_of_tracks()[Track.BASS]) > 1000


def test_a_new_attempt_takes_back_what_the_last_one_reported(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []

    def run(*_: object) -> None:
        seen.append(job.progress())
        raise ZeroDivisionError

    monkeypatch.setattr(Pipeline, "run", run)
    job.create(short_song(job))
    assert (attempt.run(), attempt.run()) == (75, 75)
    assert [report.attempt for report in seen] == ["1", "2"]
    assert seen[1].failure is None
    assert seen[1].stages == pending_stages()


def test_what_nobody_expected_is_one_plain_sentence(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(Pipeline, "run", run)
    job.create(short_song(job))
    assert attempt.run() == 75
    assert "/secret/path" not in assert_failed_for_now(job, FailureCode.RUNNER_ERROR)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobFailed(FailureCode.WEIGHTS_CORRUPT, "Broken."), FailureCode.WEIGHTS_CORRUPT),
        (Cancelled(), FailureCode.CANCELLED),
        (StoreFull("Full."), FailureCode.DISK_FULL),
        (StoreError("Gone."), FailureCode.STORAGE_UNAVAILABLE),
        (OSError(28, "No space left on device"), FailureCode.DISK_FULL),
        (OSError(5, "Input/output error"), FailureCode.RUNNER_ERROR),
        (MemoryError(), FailureCode.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), FailureCode.OUT_OF_MEMORY),
        (RuntimeError("shape mismatch"), FailureCode.RUNNER_ERROR),
    ],
)
def test_every_exception_means_a_failure(error: BaseException, code: FailureCode) -> None:
    assert failure_of(error).code is code
