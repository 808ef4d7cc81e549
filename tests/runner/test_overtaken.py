"""Two attempts at one job at the same time: the later one counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.failures import FailureCode
from contract.layout import manifest_key, track_key
from contract.progress import Progress
from contract.stores import PreconditionFailed
from contract.stores.filesystem import FileStore
from contract.tracks import Track
from runner import attempt
from runner.pipeline import Pipeline
from tests.runner.jobs import JOB_ID, Job, short_song

pytestmark = pytest.mark.usefixtures("restored_threads")


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """While the song was at work, `happens`."""
    real = Pipeline.run

    def run(self: Pipeline, path: Path, options: object) -> object:
        finished = real(self, path, options)  # type: ignore[arg-type]
        happens()
        return finished

    monkeypatch.setattr(Pipeline, "run", run)


def put_tracks(job: Job, content: bytes) -> None:
    for track in Track:
        job.store.put(track_key(JOB_ID, track, "wav"), content, content_type="audio/wav")


@pytest.mark.parametrize("wrote_tracks", [True, False])
def test_an_attempt_that_a_later_one_has_overtaken_writes_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch, wrote_tracks: bool
) -> None:
    later = Progress(attempt="2", progress=0.25)

    def overtake() -> None:
        job.report_file.write_bytes(later.to_json())
        if wrote_tracks:
            put_tracks(job, b"the later one's")

    meanwhile(monkeypatch, overtake)
    job.create(short_song(job))
    assert attempt.run() == 143  # not 0, which would end the Job while the later attempt works
    if wrote_tracks:
        assert set(job.bytes_of_tracks().values()) == {b"the later one's"}
    else:
        assert not any(job.store.stat(track_key(JOB_ID, track, "wav")) for track in Track)
    assert job.manifest() is None
    assert job.progress() == later


def test_an_attempt_that_is_overtaken_while_it_stores_leaves_no_manifest(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FileStore.put_file

    def put_file(self: FileStore, key: str, *arguments: Any, **named: Any) -> object:
        done = real(self, key, *arguments, **named)
        if key == track_key(JOB_ID, Track.MAIN_PERCUSSIVE, "wav"):
            job.report_file.write_bytes(Progress(attempt="2").to_json())
        return done

    job.create(short_song(job))
    monkeypatch.setattr(FileStore, "put_file", put_file)
    assert attempt.run() == 143
    assert job.manifest() is None


def test_tracks_that_an_earlier_attempt_wrote_meanwhile_are_replaced(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: put_tracks(job, b"the earlier one's"))
    job.create(short_song(job))
    assert attempt.run() == 0
    manifest = job.manifest()
    assert manifest is not None
    for record in manifest.tracks.values():
        info = job.store.stat(record.key)
        assert info is not None
        assert (info.size, info.generation) == (record.size, record.generation)


def test_an_attempt_that_has_been_outrun_to_the_manifest_leaves_it_alone(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        put_tracks(job, b"the other's")
        job.store.put(manifest_key(JOB_ID), b"the other's", content_type="application/json")

    meanwhile(monkeypatch, end)
    job.create(short_song(job))
    assert attempt.run() == 0
    assert set(job.bytes_of_tracks().values()) == {b"the other's"}


def test_two_attempts_that_write_for_ever_do_not_wait_for_each_other_for_ever(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def put_file(self: FileStore, key: str, *_: object, **__: object) -> None:
        tries.append(key)
        raise PreconditionFailed("Somebody else has written it.")

    job.create(short_song(job))
    monkeypatch.setattr(FileStore, "put_file", put_file)
    assert attempt.run() == 75
    assert len(tries) == 3
    failure = job.progress().failure
    assert failure is not None
    assert failure.code is FailureCode.STORAGE_UNAVAILABLE
    assert job.manifest() is None
