"""A real runner, as a process, that reports to a real control plane with the rights of a pod."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from kubernetes.watch import Watch

from api.launchers.kubernetes.reports import progress_of
from contract.stages import Status
from tests.k8s.site import Runner, Site
from tests.runner.jobs import Job, terminate, write_song
from tests.runner.signals import music
from tests.runner.tiny_models import save_tiny
from tests.testbed.cluster import key_of
from tests.testbed.waiting import wait_for

TIMES = {"started_at", "completed_at", "duration_seconds"}


@pytest.fixture
def new_job(tmp_path: Path) -> Job:
    """A job without a song, in a store in a folder."""
    return Job(tmp_path, save_tiny(tmp_path / "tiny.safetensors"))


@pytest.fixture
def job(new_job: Job) -> Job:
    """One with a song of a few seconds."""
    return new_job.create(write_song(new_job.folder / "song.wav", music(5 * 44_100)))


def reporting(runner: Runner) -> dict[str, str]:
    """The environment of a runner that works as this pod."""
    return {"STEMJOB_JOB_REPORT": runner.url, "KUBECONFIG": str(runner.kubeconfig)}


def history(runner: Runner, since: str) -> list[Any]:
    """A Job's metadata after each change since a version of it, as the API server remembers them."""
    watch = Watch()  # type: ignore[no-untyped-call]
    events = watch.stream(  # type: ignore[no-untyped-call]
        runner.site.cluster.batch.list_namespaced_job,
        runner.site.namespace,
        field_selector=f"metadata.name={runner.job}",
        resource_version=since,
        timeout_seconds=1,
    )
    return [event["object"].metadata for event in events]


def test_the_record_of_a_song_grows_on_its_job_in_order(site: Site, job: Job) -> None:
    runner = site.start_one()
    assert runner.pod
    begun = site.read(runner.job).metadata
    assert begun
    ended = job.run(**reporting(runner))

    assert ended.code == 0, ended.log
    manifest = job.manifest()
    assert manifest is not None
    assert manifest.attempt == f"1 {key_of(runner.pod).uid}"
    last = progress_of(site.annotations(runner.job))
    assert last is not None
    assert (last.attempt, last.progress, last.stages) == (manifest.attempt, 1.0, manifest.answer.stages)
    assert site.stage(runner.job) == "completed"
    changes = history(runner, begun.resource_version or "")
    seen = [progress for change in changes if (progress := progress_of(change.annotations or {})) is not None]
    assert len(seen) >= 2
    assert [each.progress for each in seen] == sorted(each.progress for each in seen)
    assert {each.attempt for each in seen} == {manifest.attempt}
    for stages in zip(*(each.stages for each in seen), strict=True):
        order = [list(Status).index(stage.status) for stage in stages]
        assert order == sorted(order)
    record = json.loads(site.annotations(runner.job)["stemjob.dev/normalization"])
    assert set(record) == {"name", "processor_type", "status", "error", *TIMES}


def test_a_song_fails_with_its_sentence_on_the_job(site: Site, job: Job) -> None:
    runner = site.start_one()
    ended = job.run(**reporting(runner), STEMJOB_MODELS="bundled")

    assert ended.code == 65, ended.log
    manifest = job.manifest()
    assert manifest is not None
    last = progress_of(site.annotations(runner.job))
    assert last is not None
    assert last.stages == manifest.answer.stages
    assert last.stages[0].error == manifest.answer.error
    assert site.stage(runner.job) == "failed"


@pytest.mark.parametrize("trouble", ["hangs", "is not there", "refuses"])
def test_a_song_is_done_whatever_the_api_server_does(site: Site, job: Job, trouble: str) -> None:
    runner = site.start_one()
    environment = reporting(runner)
    if trouble == "is not there":
        path = Path(environment["KUBECONFIG"])
        path.write_text(re.sub(r"(https://[^:]+):\d+", r"\1:9", path.read_text()))
    if trouble == "refuses":
        environment["KUBECONFIG"] = str(site.kubeconfig("default"))
    if trouble != "hangs":
        ended = job.run(**environment)
    else:
        processes = site.cluster.require_control("servers are paused").processes
        processes.pause("kube-apiserver")
        try:
            ended = job.run(**environment)
        finally:
            processes.resume("kube-apiserver")

    assert ended.code == 0, ended.log
    manifest = job.manifest()
    assert manifest is not None
    assert manifest.answer.status is Status.COMPLETED
    assert manifest.attempt == ""
    assert "progress_not_reported" in ended.log
    assert "stemjob.dev/progress" not in site.annotations(runner.job)


@pytest.mark.parametrize("answers", [True, False], ids=["answers", "hangs"])
def test_a_runner_that_is_stopped_while_it_reports_leaves_nothing_half_done(
    site: Site, new_job: Job, answers: bool
) -> None:
    runner = site.start_one()
    job = new_job.create(write_song(new_job.folder / "song.wav", music(60 * 44_100)))
    processes = site.cluster.require_control("servers are paused").processes
    process = job.start(**reporting(runner))
    wait_for("the first stage", lambda: site.stage(runner.job) == "audio_separation", 60)

    if not answers:
        processes.pause("kube-apiserver")
    try:
        assert terminate(process) == 143
    finally:
        if not answers:
            processes.resume("kube-apiserver")

    left = progress_of(site.annotations(runner.job))
    assert left is not None
    assert {stage.status for stage in left.stages[1:]} <= {Status.PENDING, Status.PROCESSING}
    if answers:
        assert (left.stages[0].status, site.stage(runner.job)) == (Status.FAILED, "failed")
        assert left.stages[0].error == "The job was cancelled."
        assert {stage.status for stage in left.stages[1:]} == {Status.PENDING}
    assert sorted(info.key.rpartition("/")[2] for info in job.store.list("")) == ["input.wav", "job.json"]
    assert job.leftovers() == []
