"""Creating and reading Jobs, on a real control plane: once, whatever happens, and with few rights."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.launchers import LauncherUnavailable
from api.launchers.kubernetes import client
from api.launchers.kubernetes.client import ClusterClient, NoAnswer, connect
from api.launchers.kubernetes.launcher import KubernetesLauncher
from api.settings import ApiSettings
from api.sweep import Sweep
from contract import clock
from contract.job import JobSpec
from contract.progress import Progress
from contract.stages import StageName, begin, complete, pending_stages
from contract.stores import Store, open_store
from tests.api.conftest import add_job, job_record
from tests.api.launchers.conftest import SHIPPED, Launch, wait_for_quota
from tests.testbed.cluster import Cluster, key_of
from tests.testbed.fake_node import FakeNode

OpenLauncher = Callable[..., KubernetesLauncher]


def spec_of(job_id: str = "") -> JobSpec:
    return JobSpec(job_id=job_id or str(uuid.uuid4()), store="gs://bucket")


def jobs(cluster: Cluster, namespace: str) -> list[str]:
    names = cluster.kubectl("-n", namespace, "get", "jobs", "-o", "name").split()
    return [name.removeprefix("job.batch/stemjob-") for name in names]


def test_launching_twice_makes_one_job(cluster: Cluster, launch: Launch) -> None:
    song = launch()

    song.launcher.launch(spec_of(song.job_id))

    assert jobs(cluster, song.namespace) == [song.job_id]


def test_a_job_that_is_not_there_is_unknown(open_launcher: OpenLauncher) -> None:
    launcher = open_launcher()

    assert launcher.observe(str(uuid.uuid4())) is None
    launcher.forget(str(uuid.uuid4()))


@contextmanager
def api_server_hangs(cluster: Cluster) -> Iterator[None]:
    processes = cluster.require_control("servers are stopped").processes
    processes.pause("kube-apiserver")
    try:
        yield
    finally:
        processes.resume("kube-apiserver")


def test_an_api_server_that_hangs_is_unavailable_within_six_seconds(
    cluster: Cluster, open_launcher: OpenLauncher
) -> None:
    launcher = open_launcher()
    job_id = str(uuid.uuid4())
    asks: list[Callable[[], object]] = [
        lambda: launcher.launch(spec_of(job_id)),
        lambda: launcher.observe(job_id),
    ]
    for ask in asks:
        begun = time.monotonic()
        with api_server_hangs(cluster), pytest.raises(LauncherUnavailable, match="does not answer"):
            ask()
        assert time.monotonic() - begun < 6


def test_a_stopped_api_server_is_waited_for_a_moment(
    cluster: Cluster, jobs_namespace: str, open_launcher: OpenLauncher
) -> None:
    control = cluster.require_control("servers are stopped")
    launcher = open_launcher()
    control.stop_apiserver()
    try:
        begun = time.monotonic()
        with pytest.raises(LauncherUnavailable, match="does not answer"):
            launcher.observe(str(uuid.uuid4()))
        assert 3 < time.monotonic() - begun < 6
    finally:
        control.start_apiserver()


class LosesAnswers(ClusterClient):
    """The way to the cluster on which the answer to a create gets lost, and sometimes the create too."""

    lands = True

    def create_job(self, job: dict[str, object]) -> None:
        if self.lands:
            super().create_job(job)
        raise NoAnswer("The cluster does not answer at present.")


@pytest.fixture
def losing(open_launcher: OpenLauncher, jobs_namespace: str) -> Iterator[LosesAnswers]:
    cluster = LosesAnswers(connect(jobs_namespace)._api, jobs_namespace)
    yield cluster
    cluster.close()


def test_a_create_without_an_answer_that_landed_is_found(
    cluster: Cluster, jobs_namespace: str, losing: LosesAnswers
) -> None:
    spec = spec_of()

    KubernetesLauncher(losing, SHIPPED).launch(spec)

    assert jobs(cluster, jobs_namespace) == [spec.job_id]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def test_a_create_without_an_answer_that_did_not_land_is_made_by_the_sweep(
    cluster: Cluster, jobs_namespace: str, losing: LosesAnswers, open_launcher: OpenLauncher, store: Store
) -> None:
    job_id = add_job(store, job_record())
    losing.lands = False
    with pytest.raises(LauncherUnavailable):
        KubernetesLauncher(losing, SHIPPED).launch(spec_of(job_id))
    assert jobs(cluster, jobs_namespace) == []

    for _ in range(2):
        Sweep(ApiSettings(), store, open_launcher(), "gs://bucket").run(clock.now())

    assert jobs(cluster, jobs_namespace) == [job_id]


def test_a_full_quota_does_not_keep_the_sweep_from_the_other_jobs(
    cluster: Cluster, jobs_namespace: str, open_launcher: OpenLauncher, store: Store
) -> None:
    waiting = {add_job(store, job_record()) for _ in range(3)}
    cluster.kubectl("-n", jobs_namespace, "create", "quota", "songs", "--hard=count/jobs.batch=2")
    wait_for_quota(cluster, jobs_namespace)

    Sweep(ApiSettings(), store, open_launcher(), "gs://bucket").run(clock.now())

    made = set(jobs(cluster, jobs_namespace))
    assert len(made) == 2
    assert made < waiting


def test_what_the_runner_wrote_on_its_job_is_its_progress(launch: Launch, fake_node: FakeNode) -> None:
    song = launch()
    assert song.seen().progress is None
    pod = fake_node.running(song.pod())
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    stages = begin(
        complete(begin(pending_stages(), StageName.SEPARATION, moment), StageName.SEPARATION, moment),
        StageName.HPSS,
        moment,
    )
    records = {stage.name.value: stage.to_json().decode() for stage in stages}
    attempt = f"1 {key_of(pod).uid}"

    song.annotate(**records, progress="0.625", attempt=attempt)

    assert song.seen().progress == Progress(attempt=attempt, progress=0.625, stages=stages)


def test_what_an_earlier_attempt_wrote_is_forgotten_when_the_next_one_is_made(
    launch: Launch, fake_node: FakeNode
) -> None:
    fake_node.ended_seconds_ago = 600
    song = launch()
    first = fake_node.running(song.pod())
    stages = begin(pending_stages(), StageName.SEPARATION, clock.now())
    records = {stage.name.value: stage.to_json().decode() for stage in stages}
    song.annotate(**records, progress="0.5", attempt=f"1 {key_of(first).uid}")
    assert song.seen().progress is not None
    fake_node.oom_killed(first)

    song.pod(first)

    assert song.seen().progress is None


def test_finished_jobs_are_told_until_they_are_forgotten(
    launch: Launch, make_node: Callable[..., FakeNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node({"nvidia.com/gpu": "5", "ephemeral-storage": "500Gi"})
    monkeypatch.setattr(client, "_PAGE", 2)
    songs = [launch() for _ in range(5)]
    launcher = songs[0].launcher
    assert list(launcher.finished()) == []
    for song in songs:
        node.succeeded(song.pod())
        song.end()
    assert sorted(launcher.finished()) == sorted(song.job_id for song in songs)

    launcher.forget(songs[0].job_id)

    assert sorted(launcher.finished()) == sorted(song.job_id for song in songs[1:])
    assert songs[0].seen().finished  # people can still look at it


def test_two_launchers_say_the_same(launch: Launch, fake_node: FakeNode, open_launcher: OpenLauncher) -> None:
    song = launch()
    other = open_launcher()
    assert other.observe(song.job_id) == song.seen()

    fake_node.oom_killed(song.pod())

    song.waits("retrying")
    assert other.observe(song.job_id) == song.seen()
