"""Each duty of the sweep, on a real store and a real launcher."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.launchers.local import LocalLauncher
from api.sweep import UPLOAD_ABANDONED_AFTER, sweep
from contract import clock
from contract.job import JobSpec
from contract.layout import input_key, job_key, manifest_key
from contract.manifest import Manifest
from contract.stores import Store, open_store
from tests.api.conftest import add_finished_job, add_job, job_record

SILENT = "/bin/true"  # a runner that ends at once and says nothing


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(tmp_path / "state", concurrency=1, python=SILENT)
    yield launcher
    launcher.close()


def run_sweep(store: Store, launcher: LocalLauncher, later: timedelta = timedelta()) -> None:
    sweep(store, launcher, "file:///store", clock.now() + later)


def wait_until_finished(launcher: LocalLauncher, job_id: str) -> None:
    for _ in range(100):
        if job_id in launcher.finished():
            return
        time.sleep(0.05)
    raise AssertionError("the runner did not end")


def test_a_job_that_never_began_is_launched(store: Store, launcher: LocalLauncher) -> None:
    job_id = add_job(store, job_record())

    run_sweep(store, launcher)

    assert launcher.observe(job_id) is not None


def test_a_job_that_died_silently_is_recorded_once_and_forgotten(
    store: Store, launcher: LocalLauncher
) -> None:
    job_id = add_job(store, job_record())
    launcher.launch(JobSpec(job_id=job_id, store="file:///store"))
    wait_until_finished(launcher, job_id)

    run_sweep(store, launcher)
    first = store.stat(manifest_key(job_id))
    run_sweep(store, launcher)

    found = store.get(manifest_key(job_id))
    assert found is not None
    assert Manifest.model_validate_json(found[0]).answer.code == "lost"
    assert store.stat(manifest_key(job_id)) == first
    assert launcher.observe(job_id) is None


def test_a_finished_job_is_forgotten_and_not_touched(store: Store, launcher: LocalLauncher) -> None:
    job_id = add_finished_job(store)
    before = list(store.list(""))
    launcher.launch(JobSpec(job_id=job_id, store="file:///store"))
    wait_until_finished(launcher, job_id)

    run_sweep(store, launcher, timedelta(days=30))

    assert list(store.list("")) == before
    assert launcher.observe(job_id) is None


def test_an_upload_without_a_job_is_deleted_after_an_hour(store: Store, launcher: LocalLauncher) -> None:
    store.put(input_key("abandoned", "wav"), b"x", content_type="audio/wav")

    run_sweep(store, launcher, UPLOAD_ABANDONED_AFTER - timedelta(minutes=1))
    assert store.stat(input_key("abandoned", "wav")) is not None

    run_sweep(store, launcher, UPLOAD_ABANDONED_AFTER + timedelta(minutes=1))
    assert list(store.list("")) == []


def test_a_record_that_cannot_be_read_does_not_stop_the_others(store: Store, launcher: LocalLauncher) -> None:
    broken = "00000000-0000-4000-8000-000000000000"
    store.put(job_key(broken), b"{", content_type="application/json")
    launcher.launch(JobSpec(job_id=broken, store="file:///store"))
    wait_until_finished(launcher, broken)
    job_id = add_job(store, job_record())

    run_sweep(store, launcher)

    assert launcher.observe(job_id) is not None
