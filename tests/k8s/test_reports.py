"""The runner's reports on a real control plane, with a runner's rights: what gets there, and when."""

import itertools
import threading
import time
from typing import Any

import pytest

from api.launchers.kubernetes.reports import progress_of
from contract.clock import now
from contract.progress import Progress
from contract.stages import StageName, begin, complete, fail, pending_stages
from runner.annotations import KubernetesReporter
from runner.own_job import OwnJob
from tests.k8s.conftest import Open
from tests.k8s.site import Site, patch
from tests.testbed.cluster import key_of
from tests.testbed.waiting import wait_for

BEGUN = begin(pending_stages(), StageName.SEPARATION, now())


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a patch that changed the Job was answered; looks do not count."""
    times: list[float] = []
    real = OwnJob.patch

    def spy(self: OwnJob, metadata: Any) -> Any:
        seen = real(self, metadata)
        if metadata:
            times.append(time.monotonic())
        return seen

    monkeypatch.setattr(OwnJob, "patch", spy)
    return times


def test_the_api_reads_what_a_runner_has_reported(site: Site, open_reporter: Open) -> None:
    runner = site.start_one()
    assert runner.pod
    reporter = open_reporter(runner)
    stages = complete(begin(BEGUN, StageName.HPSS, now()), StageName.SEPARATION, now())
    reporter.write(Progress(progress=0.4216, stages=stages))
    reporter.close()

    attempt = f"1 {key_of(runner.pod).uid}"
    expected = Progress(attempt=attempt, progress=0.422, stages=stages)
    assert reporter.attempt == attempt
    assert progress_of(site.annotations(runner.job)) == expected
    assert site.stage(runner.job) == StageName.HPSS


def test_people_see_it_with_kubectl(site: Site, open_reporter: Open) -> None:
    runner = site.start_one()
    reporter = open_reporter(runner)
    reporter.write(Progress(progress=0.25, stages=BEGUN))
    reporter.close()

    def kubectl(*arguments: str) -> str:
        return site.cluster.kubectl("-n", site.namespace, *arguments)

    header, line = kubectl("get", "jobs", runner.job, "-L", "stemjob.dev/stage").splitlines()
    assert header.split()[-1] == "STAGE"
    assert line.split()[-1] == "audio_separation"
    columns = (
        r"NAME:.metadata.name,STAGE:.metadata.labels.stemjob\.dev/stage,"
        r"PROGRESS:.metadata.annotations.stemjob\.dev/progress,STATUS:.status.conditions[-1:].type,"
        r"REASON:.status.conditions[-1:].reason"
    )
    _, row = kubectl("get", "jobs", runner.job, "-o", f"custom-columns={columns}").splitlines()
    assert row.split() == [runner.job, "audio_separation", "0.250", "<none>", "<none>"]
    selected = kubectl("get", "jobs", "-l", "stemjob.dev/stage=audio_separation", "-o", "name").split()
    assert f"job.batch/{runner.job}" in selected
    assert '"status":"processing"' in kubectl("describe", "job", runner.job)


def test_patches_are_two_seconds_apart_and_the_last_report_gets_out_at_the_end(
    site: Site, open_reporter: Open, patches: list[float]
) -> None:
    runner = site.start_one()
    reporter = open_reporter(runner)
    began = time.monotonic()
    step = 0
    while time.monotonic() - began < 5:
        step += 1
        reporter.write(Progress(progress=step / 10_000, stages=BEGUN))
        time.sleep(0.01)
    reporter.close()

    *regular, _last = patches
    assert len(regular) == 3
    assert all(later - earlier >= 2.0 for earlier, later in itertools.pairwise(regular))
    assert site.annotations(runner.job)["stemjob.dev/progress"] == f"{step / 10_000:.3f}"


def test_what_the_job_says_already_is_not_said_again(
    site: Site, open_reporter: Open, patches: list[float]
) -> None:
    runner = site.start_one()
    reporter = open_reporter(runner, seconds=0.05)
    for _ in range(20):
        reporter.write(Progress(progress=0.5, stages=BEGUN))
        time.sleep(0.02)
    reporter.close()
    assert len(patches) == 1


def test_changes_by_others_stay_and_do_not_stop_the_reports(site: Site, open_reporter: Open) -> None:
    runner = site.start_one()
    reporter = open_reporter(runner, seconds=0.05)
    for step in (1, 2, 3):
        note = {"metadata": {"annotations": {"note": str(step)}}}
        patch(site.cluster.batch, site, runner.job, note)
        reporter.write(Progress(progress=step / 10))
        runner.shows(step / 10)
    assert site.annotations(runner.job)["note"] == "3"
    assert not reporter.overtaken()


def test_a_second_attempt_replaces_the_record_of_the_first(site: Site, open_reporter: Open) -> None:
    first, second = site.start_two()
    failed = fail(BEGUN, StageName.SEPARATION, now(), "The runner's disk is full.")
    earlier = open_reporter(first)
    earlier.write(Progress(progress=0.5, stages=failed))
    earlier.close()
    assert site.stage(first.job) == "failed"

    later = open_reporter(second)
    later.write(Progress())
    later.close()

    assert second.pod
    fresh = Progress(attempt=f"2 {key_of(second.pod).uid}")
    assert progress_of(site.annotations(first.job)) == fresh
    assert site.stage(first.job) == "queued"


def test_an_older_attempt_learns_of_the_newer_one_and_falls_silent(site: Site, open_reporter: Open) -> None:
    first, second = site.start_two()
    older = open_reporter(first, seconds=0.05)
    older.write(Progress(progress=0.1))
    first.shows(0.1)
    newer = open_reporter(second, seconds=0.05)
    newer.write(Progress(progress=0.2))
    first.shows(0.2)

    older.write(Progress(progress=0.9))
    time.sleep(0.5)

    assert site.annotations(first.job)["stemjob.dev/progress"] == "0.200"
    assert older.overtaken()
    assert not newer.overtaken()
    newer.write(Progress(progress=0.3))
    first.shows(0.3)


def test_an_older_attempt_that_only_asks_hears_of_the_newer_one(site: Site, open_reporter: Open) -> None:
    first, second = site.start_two()
    older = open_reporter(first)
    older.write(Progress(progress=0.1))
    first.shows(0.1)
    assert not older.overtaken()
    newer = open_reporter(second)
    newer.write(Progress(progress=0.2))
    first.shows(0.2)
    assert older.overtaken()


def test_of_two_attempts_that_start_at_once_one_is_the_later(site: Site, open_reporter: Open) -> None:
    both = [open_reporter(runner, seconds=0.05) for runner in site.start_two()]
    assert [reporter.attempt.split()[0] for reporter in both] == ["1", "1"]
    for reporter in both:
        reporter.write(Progress(progress=0.1))
    wait_for("two numbers", lambda: sorted(each.attempt.split()[0] for each in both) == ["1", "2"])
    wait_for("one to be overtaken", lambda: sorted(each.overtaken() for each in both) == [False, True])


def test_a_job_that_is_gone_ends_the_reports(site: Site, open_reporter: Open) -> None:
    runner = site.start_one()
    reporter = open_reporter(runner, seconds=0.05)
    site.cluster.batch.delete_namespaced_job(runner.job, site.namespace, propagation_policy="Background")
    reporter.write(Progress(progress=0.1))
    wait_for("the thread's end", lambda: not any(t.name == "annotations" for t in threading.enumerate()))
    reporter.write(Progress(progress=0.2))
    assert not reporter.overtaken()
    reporter.close()


@pytest.mark.parametrize("url", ["kubernetes://", "kubernetes://songs", "kubernetes://songs/a/b"])
def test_a_url_that_names_no_job_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="kubernetes://<namespace>/<Job>"):
        KubernetesReporter(url)
