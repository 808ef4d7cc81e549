"""Each duty of the sweep, on a real store and a real launcher."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.deletion import delete_job
from api.launchers.local import LocalLauncher
from api.marks import mark_deleted, mark_unsettled
from api.settings import ApiSettings
from api.sweep import UPLOAD_ABANDONED_AFTER, Sweep
from api.sweep.old import CLAIM_STAYS
from api.sweep.unsettled import LINK_LIVES, RUNNER_MAY_WRITE, TOMBSTONE_STAYS
from api.webhooks import announce
from contract import clock
from contract.job import JobRecord, JobSpec
from contract.layout import idempotency_key, index_key, input_key, job_key, manifest_key, unsettled_key
from contract.manifest import Manifest
from contract.stores import Store, open_store
from tests.api.conftest import add_finished_job, add_job, job_record

SILENT = "/bin/true"  # a runner that ends at once and says nothing
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(tmp_path / "state", concurrency=1, python=SILENT)
    yield launcher
    launcher.close()


@pytest.fixture
def run_sweep(store: Store, launcher: LocalLauncher) -> Callable[..., None]:
    def run(later: timedelta = timedelta(), *, everything: bool = False, days: int | None = None) -> None:
        sweep = Sweep(ApiSettings(retention_days=days), store, launcher, "file:///store")
        sweep.run(clock.now() + later, everything=everything)

    return run


RunSweep = Callable[..., None]


def keys(store: Store) -> list[str]:
    return [info.key for info in store.list("")]


def in_index(store: Store, record: JobRecord) -> bool:
    return store.stat(index_key(record.owner, record.created_at, record.job_id)) is not None


def launch_and_wait(launcher: LocalLauncher, job_id: str) -> None:
    launcher.launch(JobSpec(job_id=job_id, store="file:///store"))
    for _ in range(100):
        if job_id in launcher.finished():
            return
        time.sleep(0.05)
    raise AssertionError("the runner did not end")


def test_a_job_that_never_began_is_launched_and_entered_in_the_list(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    record = job_record()
    mark_unsettled(store, record.job_id)
    store.put(job_key(record.job_id), record.to_json(), content_type="application/json")

    run_sweep()

    assert launcher.observe(record.job_id) is not None
    assert in_index(store, record)


def test_a_job_that_died_silently_is_recorded_once_and_forgotten(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    job_id = add_job(store, job_record())
    launch_and_wait(launcher, job_id)

    run_sweep()
    first = store.stat(manifest_key(job_id))
    run_sweep()

    found = store.get(manifest_key(job_id))
    assert found is not None
    assert Manifest.model_validate_json(found[0]).answer.code == "lost"
    assert store.stat(manifest_key(job_id)) == first
    assert launcher.observe(job_id) is None
    assert store.stat(unsettled_key(job_id)) is None


def test_a_finished_job_is_forgotten_and_not_touched(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    job_id = add_finished_job(store)
    before = list(store.list("jobs/"))
    launch_and_wait(launcher, job_id)

    run_sweep(timedelta(days=30))

    assert list(store.list("jobs/")) == before
    assert launcher.observe(job_id) is None


def test_settled_jobs_cost_a_pass_nothing(
    store: Store, run_sweep: RunSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        add_finished_job(store)
    asked: list[str] = []
    for question in ("get", "stat", "put", "delete"):
        monkeypatch.setattr(type(store), question, lambda self, key, *_, **__: asked.append(key))

    run_sweep()

    assert asked == []


def test_jobs_that_nobody_has_marked_are_found_when_everything_is_looked_at(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    finished, missed = job_record(), job_record()
    add_finished_job(store, record=finished)
    store.delete(index_key(finished.owner, finished.created_at, finished.job_id))
    store.put(job_key(missed.job_id), missed.to_json(), content_type="application/json")
    store.put("jobs/no-id/input.wav", b"x", content_type="audio/wav")

    run_sweep()
    assert launcher.observe(missed.job_id) is None
    run_sweep(everything=True)

    assert in_index(store, finished)
    assert in_index(store, missed)
    assert launcher.observe(missed.job_id) is not None


@pytest.mark.parametrize("link", [False, True])
def test_an_upload_without_a_job_is_deleted_after_an_hour(
    store: Store, run_sweep: RunSweep, link: bool
) -> None:
    job_id = str(uuid.uuid4())
    mark_unsettled(store, job_id, link=link)
    store.put(input_key(job_id, "wav"), b"x", content_type="audio/wav")

    run_sweep(UPLOAD_ABANDONED_AFTER - MINUTE)
    assert store.stat(input_key(job_id, "wav")) is not None

    run_sweep(UPLOAD_ABANDONED_AFTER + MINUTE)
    assert [key.partition("/")[0] for key in keys(store)] == (["links"] if link else [])


def test_a_song_that_arrives_by_its_link_days_later_is_deleted_too(store: Store, run_sweep: RunSweep) -> None:
    job_id = str(uuid.uuid4())
    mark_unsettled(store, job_id, link=True)
    run_sweep(LINK_LIVES - DAY)
    marks = keys(store)
    store.put(input_key(job_id, "wav"), b"x", content_type="audio/wav")

    run_sweep(LINK_LIVES - MINUTE)
    assert len(marks) == 1
    assert keys(store) == marks
    run_sweep(LINK_LIVES + MINUTE)
    assert keys(store) == []


def test_an_upload_that_was_given_up_is_looked_at_once_an_hour(
    store: Store, run_sweep: RunSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_unsettled(store, str(uuid.uuid4()), link=True)
    run_sweep(UPLOAD_ABANDONED_AFTER + MINUTE)
    asked: list[str] = []
    for question in ("get", "put", "delete", "delete_prefix"):
        monkeypatch.setattr(type(store), question, lambda self, key, *_, **__: asked.append(key))

    run_sweep(UPLOAD_ABANDONED_AFTER - MINUTE)
    assert asked == []
    run_sweep(UPLOAD_ABANDONED_AFTER + MINUTE)
    assert len(asked) == 2


def test_a_record_that_cannot_be_read_does_not_stop_the_others(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    broken = "00000000-0000-4000-8000-000000000000"
    store.put(job_key(broken), b"{", content_type="application/json")
    launch_and_wait(launcher, broken)
    job_id = add_job(store, job_record())

    run_sweep()

    assert launcher.observe(job_id) is not None


def test_finished_jobs_are_deleted_when_their_time_is_up(store: Store, run_sweep: RunSweep) -> None:
    old = add_finished_job(store, record=job_record(age=8 * DAY))
    young = add_finished_job(store, record=job_record(age=6 * DAY))
    announce(store, old)

    run_sweep(days=None)
    assert store.stat(manifest_key(old)) is not None
    run_sweep(days=7)

    assert [key for key in keys(store) if old in key] == []
    assert len(list(store.list(f"jobs/{young}/"))) == 11
    assert [key for key in keys(store) if young in key and key.startswith("index/")] != []


def test_an_old_job_that_is_not_finished_is_kept(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    record = job_record(age=9 * DAY)
    add_job(store, record)
    before = keys(store)

    run_sweep(days=7)

    assert keys(store) == before
    assert launcher.observe(record.job_id) is not None


def test_a_deletion_of_an_old_job_that_broke_off_is_finished(store: Store, run_sweep: RunSweep) -> None:
    record = job_record(age=9 * DAY)
    add_finished_job(store, record=record)
    store.delete(job_key(record.job_id))
    store.delete(manifest_key(record.job_id))

    run_sweep(days=7)

    assert [key for key in keys(store) if key.startswith("index/")] == []


def test_idempotency_keys_are_forgotten_after_a_day(store: Store, run_sweep: RunSweep) -> None:
    store.put(idempotency_key("anonymous", "0" * 64), b"{}", content_type="application/json")

    run_sweep(CLAIM_STAYS - MINUTE)
    assert len(keys(store)) == 1
    run_sweep(CLAIM_STAYS + MINUTE)
    assert keys(store) == []


def deleted(store: Store, launcher: LocalLauncher) -> JobRecord:
    record = job_record()
    add_finished_job(store, record=record)
    found = store.stat(job_key(record.job_id))
    assert found is not None
    delete_job(store, launcher, record, found.generation)
    return record


def test_what_a_runner_writes_after_its_job_was_deleted_is_removed(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    record = deleted(store, launcher)
    there = keys(store)
    store.put(manifest_key(record.job_id), b"{}", content_type="application/json")
    store.put(f"jobs/{record.job_id}/composite/main.wav", b"x", content_type="audio/wav")

    run_sweep()
    assert keys(store) == there


def test_a_tombstone_goes_after_a_day_with_all_that_came_late(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    record = deleted(store, launcher)
    store.put(manifest_key(record.job_id), b"{}", content_type="application/json")

    run_sweep(TOMBSTONE_STAYS - MINUTE)
    assert store.stat(job_key(record.job_id)) is not None
    run_sweep(TOMBSTONE_STAYS + MINUTE)
    assert keys(store) == []


def test_a_deletion_that_got_no_further_than_its_mark_has_not_happened(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    job_id = add_finished_job(store)
    before = keys(store)
    mark_deleted(store, job_id)

    for later in (timedelta(), RUNNER_MAY_WRITE - MINUTE, TOMBSTONE_STAYS + MINUTE):
        run_sweep(later)

    assert keys(store) == before


def test_two_sweeps_at_once_do_what_one_does(
    store: Store, launcher: LocalLauncher, run_sweep: RunSweep
) -> None:
    missed = [add_job(store, job_record()) for _ in range(10)]
    died = [add_job(store, job_record()) for _ in range(5)]
    for job_id in died:
        launch_and_wait(launcher, job_id)
    old = [add_finished_job(store, record=job_record(age=9 * DAY)) for _ in range(5)]
    gone = [deleted(store, launcher).job_id for _ in range(5)]
    failures: list[BaseException] = []

    def sweep() -> None:
        try:
            run_sweep(days=7)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    recorded = {job_id for job_id in missed if store.stat(manifest_key(job_id))}  # it was launched, and ended
    assert all(launcher.observe(job_id) is not None for job_id in set(missed) - recorded)
    for job_id in {*died, *recorded}:
        found = store.get(manifest_key(job_id))
        assert found is not None
        assert Manifest.model_validate_json(found[0]).answer.code == "lost"
    assert [key for key in keys(store) if any(job_id in key for job_id in old)] == []
    assert {key for key in keys(store) if any(job_id in key for job_id in gone)} == {
        key for job_id in gone for key in (f"deleted/{job_id}", job_key(job_id))
    }
