"""The termination message: what a failed runner leaves where Kubernetes looks for it."""

from pathlib import Path

import pytest

from contract.failures import Failure, FailureCode
from runner import attempt, last_words
from tests.runner.jobs import Job, short_song

pytestmark = pytest.mark.usefixtures("restored_threads")


def test_a_failure_is_left_where_kubernetes_looks_for_it(job: Job, termination_log: Path) -> None:
    path = short_song(job)
    path.write_bytes(path.read_bytes()[:-2000])
    job.create(path)
    assert attempt.run() == 65
    manifest = job.manifest()
    assert manifest is not None
    left = Failure.model_validate_json(termination_log.read_bytes())
    assert (left.code, left.error) == (manifest.answer.code, manifest.answer.error)


def test_a_song_that_went_well_leaves_no_last_words(job: Job, termination_log: Path) -> None:
    job.create(short_song(job))
    assert attempt.run() == 0
    assert termination_log.read_bytes() == b""


@pytest.mark.parametrize("kind", ["missing", "a folder"])
def test_no_place_for_last_words_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "termination-log"
    if kind == "a folder":
        path.mkdir()
    monkeypatch.setattr(last_words, "TERMINATION_LOG", path)
    last_words.leave(Failure(code=FailureCode.DISK_FULL, error="Full."))
    assert path.exists() == (kind == "a folder")


def test_last_words_are_whole_however_long_the_sentence_is(termination_log: Path) -> None:
    last_words.leave(Failure(code=FailureCode.DISK_FULL, error="Повно. " * 2000))
    left = termination_log.read_bytes()
    assert 3000 < len(left) <= 4096
    assert Failure.model_validate_json(left).error.endswith("…")


def test_a_runner_that_is_set_up_wrongly_says_so(
    job: Job, monkeypatch: pytest.MonkeyPatch, termination_log: Path
) -> None:
    monkeypatch.delenv("STEMJOB_JOB_STORE")
    assert attempt.run() == 75
    assert Failure.model_validate_json(termination_log.read_bytes()).code is FailureCode.RUNNER_ERROR
