"""What every launcher promises, shown on each with real counterparts: processes, and a control plane."""

import stat
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from api.launchers import Launcher
from api.launchers.kubernetes.launcher import KubernetesLauncher
from api.launchers.local import LocalLauncher
from api.status import fold
from contract import clock
from contract.job import JobSpec
from contract.progress import Progress
from contract.stages import StageName, begin, complete, pending_stages
from tests.api.conftest import job_record
from tests.api.launchers.conftest import Song
from tests.testbed.cluster import Cluster, key_of
from tests.testbed.fake_node import FakeNode
from tests.testbed.waiting import wait_for

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
HALF_WAY = Progress(
    progress=0.5,
    stages=begin(
        complete(begin(pending_stages(), StageName.SEPARATION, MOMENT), StageName.SEPARATION, MOMENT),
        StageName.HPSS,
        MOMENT,
    ),
)


class Place(Protocol):
    """Where a launcher starts runners, and a way to play them."""

    launcher: Launcher

    def reopen(self) -> None:
        """The API ends, another one begins."""

    def runners(self, job_id: str) -> int:
        """How many runners were started for a job."""

    def report(self, job_id: str, progress: Progress) -> None:
        """The runner of a job begins, and says how far it is."""

    def end(self, job_id: str) -> None:
        """The runner ends, without a word and without another try."""

    def has_gone(self, job_id: str) -> bool:
        """Whether neither a runner nor anything else of the job is left."""


def _environment(process: psutil.Process) -> str:
    try:
        return process.environ().get("STEMJOB_JOB_ID", "")
    except psutil.Error:
        return ""


class LocalPlace:
    """Processes that wait until they may end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._script = folder / "runner"
        self._script.write_text(
            f"#!/bin/sh\necho $STEMJOB_JOB_ID >> {folder}/started\n"
            f"until test -e {folder}/end-$STEMJOB_JOB_ID; do sleep 0.05; done\n"
        )
        self._script.chmod(self._script.stat().st_mode | stat.S_IXUSR)
        self.launcher: Launcher = self._open()

    def reopen(self) -> None:
        self.launcher.close()
        self.launcher = self._open()

    def runners(self, job_id: str) -> int:
        started = self._folder / "started"
        return started.read_text().split().count(job_id) if started.exists() else 0

    def report(self, job_id: str, progress: Progress) -> None:
        wait_for("the runner to be started", lambda: self.runners(job_id))
        (self._folder / "state" / "jobs" / job_id / "status.json").write_bytes(progress.to_json())

    def end(self, job_id: str) -> None:
        wait_for("the runner to be started", lambda: self.runners(job_id))
        (self._folder / f"end-{job_id}").touch()

    def has_gone(self, job_id: str) -> bool:
        runners = [each for each in psutil.process_iter() if job_id in _environment(each)]
        return not runners and not (self._folder / "state" / "jobs" / job_id).exists()

    def close(self) -> None:
        for started in (self._folder / "state" / "jobs").iterdir():
            (self._folder / f"end-{started.name}").touch()
        self.launcher.close()

    def _open(self) -> LocalLauncher:
        return LocalLauncher(self._folder / "state", concurrency=3, python=str(self._script))


class KubernetesPlace:
    """A control plane, and a node whose kubelet is played."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        node: FakeNode,
        open_launcher: Callable[[], KubernetesLauncher],
    ) -> None:
        self._cluster, self._namespace, self._node = cluster, namespace, node
        self._open = open_launcher
        self._launcher = open_launcher()
        self.launcher: Launcher = self._launcher

    def reopen(self) -> None:
        self.launcher = self._launcher = self._open()

    def runners(self, job_id: str) -> int:
        return len(self._cluster.pods_of(self._namespace, f"stemjob-{job_id}"))

    def report(self, job_id: str, progress: Progress) -> None:
        song = self._song(job_id)
        pod = self._node.running(song.pod())
        records = {stage.name.value: stage.to_json().decode() for stage in progress.stages}
        song.annotate(**records, progress=str(progress.progress), attempt=f"1 {key_of(pod).uid}")

    def end(self, job_id: str) -> None:
        self._node.failed(self._song(job_id).pod(), 65)

    def has_gone(self, job_id: str) -> bool:
        jobs = self._cluster.kubectl("-n", self._namespace, "get", "jobs", "-o", "name")
        return job_id not in jobs and self.runners(job_id) == 0

    def _song(self, job_id: str) -> Song:
        return Song(self._cluster, self._launcher, self._namespace, job_id)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPlace]:
    place = LocalPlace(tmp_path)
    yield place
    place.close()


@pytest.fixture
def kubernetes(
    cluster: Cluster,
    jobs_namespace: str,
    make_node: Callable[..., FakeNode],
    open_launcher: Callable[[], KubernetesLauncher],
) -> KubernetesPlace:
    node = make_node({"nvidia.com/gpu": "3"})
    return KubernetesPlace(cluster, jobs_namespace, node, open_launcher)


@pytest.fixture(params=["local", pytest.param("kubernetes", marks=pytest.mark.testbed)])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def launched(place: Place) -> str:
    job_id = str(uuid.uuid4())
    place.launcher.launch(JobSpec(job_id=job_id, store="file:///nowhere"))
    return job_id


def is_finished(place: Place, job_id: str) -> bool:
    seen = place.launcher.observe(job_id)
    return seen is not None and seen.finished


def code_of(place: Place, job_id: str) -> str | None:
    """The code of the answer that GET would give; None while the job goes on."""
    return fold(job_record(job_id), None, place.launcher.observe(job_id), clock.now()).code


def test_of_a_job_that_was_not_launched_nothing_is_known(place: Place) -> None:
    job_id = str(uuid.uuid4())

    place.launcher.forget(job_id)

    assert place.launcher.observe(job_id) is None
    assert list(place.launcher.finished()) == []


def test_a_job_that_was_launched_is_known_at_once_and_goes_on(place: Place) -> None:
    job_id = launched(place)

    seen = place.launcher.observe(job_id)

    assert seen is not None
    assert (seen.finished, seen.progress, seen.failure) == (False, None, None)
    assert list(place.launcher.finished()) == []


def test_a_job_launched_twice_has_one_runner(place: Place) -> None:
    job_id = launched(place)
    place.launcher.launch(JobSpec(job_id=job_id, store="file:///nowhere"))

    wait_for("a runner", lambda: place.runners(job_id))

    time.sleep(0.5)
    assert place.runners(job_id) == 1


def test_what_the_runner_reports_is_told(place: Place) -> None:
    job_id = launched(place)

    place.report(job_id, HALF_WAY)

    seen = place.launcher.observe(job_id)
    assert seen is not None
    assert seen.progress is not None
    assert (seen.finished, seen.waiting) == (False, None)
    assert (seen.progress.progress, seen.progress.stages) == (0.5, HALF_WAY.stages)


def test_a_runner_that_ended_without_a_word_is_a_failed_job_with_a_time(place: Place) -> None:
    job_id = launched(place)
    place.report(job_id, HALF_WAY)
    assert code_of(place, job_id) is None

    place.end(job_id)

    wait_for("the end", lambda: is_finished(place, job_id))
    seen = place.launcher.observe(job_id)
    assert code_of(place, job_id) is not None
    assert seen is not None
    assert seen.ended_at is not None
    assert abs((clock.now() - seen.ended_at).total_seconds()) < 30
    assert seen.progress is not None
    assert seen.progress.stages == HALF_WAY.stages


def test_finished_jobs_are_told_until_they_are_forgotten(place: Place) -> None:
    first, second, working = (launched(place) for _ in range(3))
    for job_id in (first, second):
        place.end(job_id)
    wait_for("both to end", lambda: sorted(place.launcher.finished()) == sorted([first, second]))

    place.launcher.forget(first)

    assert list(place.launcher.finished()) == [second]
    assert not is_finished(place, working)


def test_many_jobs_are_seen_at_once_as_one_by_one(place: Place) -> None:
    waiting, working, ended = launched(place), launched(place), launched(place)
    place.report(working, HALF_WAY)
    place.end(ended)
    wait_for("the end", lambda: is_finished(place, ended))
    job_ids = [str(uuid.uuid4()), ended, waiting, working]

    seen = place.launcher.observe_all(job_ids, exact=True)

    wait_for("the quick look to see the same", lambda: place.launcher.observe_all(job_ids) == seen, 5)
    assert dict(seen) == {job_id: place.launcher.observe(job_id) for job_id in job_ids[1:]}
    assert dict(place.launcher.observe_all([])) == {}


@pytest.mark.parametrize("state", ["waiting", "working", "ended"])
def test_a_deleted_job_is_unknown_at_once_and_its_runner_ends(place: Place, state: str) -> None:
    blockers = [launched(place) for _ in range(3)] if state == "waiting" else []
    for blocker in blockers:
        place.report(blocker, HALF_WAY)
    job_id = launched(place)
    if state != "waiting":
        place.report(job_id, HALF_WAY)
    if state == "ended":
        place.end(job_id)
        wait_for("the end", lambda: is_finished(place, job_id))

    place.launcher.delete(job_id)

    wait_for("the job to be unknown", lambda: place.launcher.observe(job_id) is None, 5)
    assert job_id not in place.launcher.finished()
    wait_for("nothing to be left", lambda: place.has_gone(job_id))
    place.launcher.delete(job_id)


def test_what_a_launcher_knows_survives_it(place: Place) -> None:
    ended, working = launched(place), launched(place)
    place.report(working, HALF_WAY)
    place.end(ended)
    wait_for("the end", lambda: is_finished(place, ended))
    before = [place.launcher.observe(job_id) for job_id in (ended, working)]

    place.reopen()

    assert [place.launcher.observe(job_id) for job_id in (ended, working)] == before
    assert list(place.launcher.finished()) == [ended]
    assert place.runners(working) == 1
