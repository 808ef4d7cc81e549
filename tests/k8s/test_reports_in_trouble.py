"""The runner's reports when the API server hangs, is not there or refuses: the song goes on."""

import time
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from contract.clock import now
from contract.progress import Progress
from contract.stages import StageName, begin, pending_stages
from runner import own_job
from runner.annotations import KubernetesReporter
from tests.k8s.conftest import Open
from tests.k8s.site import API, RUNNER, Runner, Site

BEGUN = begin(pending_stages(), StageName.SEPARATION, now())


class Stopwatch:
    """How long something took, in seconds."""

    def __enter__(self) -> "Stopwatch":
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began


def song(reporter: KubernetesReporter) -> float:
    """What a song does with a reporter while it is at work; the seconds that it took."""
    with Stopwatch() as watch:
        for step in range(1000):
            reporter.write(Progress(progress=step / 1000, stages=BEGUN))
    return watch.seconds


def test_an_api_server_that_hangs_costs_the_song_nothing_and_the_end_some_seconds(
    site: Site, open_reporter: Open
) -> None:
    processes = site.cluster.require_control("servers are paused").processes
    runner = site.start_one()
    reporter = open_reporter(runner, seconds=0.05)
    processes.pause("kube-apiserver")
    try:
        assert song(reporter) < 0.5
        with Stopwatch() as asking:
            assert not reporter.overtaken()
        with Stopwatch() as closing:
            reporter.close()
    finally:
        processes.resume("kube-apiserver")
    assert asking.seconds < 2.5
    assert closing.seconds < 5.5


def test_a_song_that_asks_does_not_wait_for_a_server_that_is_known_to_hang(
    site: Site, open_reporter: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own_job, "_REQUEST_SECONDS", (0.3, 0.3))
    processes = site.cluster.require_control("servers are paused").processes
    reporter = open_reporter(site.start_one())
    processes.pause("kube-apiserver")
    try:
        reporter.write(Progress(progress=0.1))
        time.sleep(1.0)
        assert "progress_not_reported" in capsys.readouterr().out
        with Stopwatch() as asking:
            assert not reporter.overtaken()
    finally:
        processes.resume("kube-apiserver")
    assert asking.seconds < 0.2


def test_reports_go_on_when_a_server_that_hung_is_back(site: Site, open_reporter: Open) -> None:
    processes = site.cluster.require_control("servers are paused").processes
    runner = site.start_one()
    reporter = open_reporter(runner, seconds=0.05)
    processes.pause("kube-apiserver")
    try:
        reporter.write(Progress(progress=0.1))
        time.sleep(0.3)
        reporter.write(Progress(progress=0.7))
    finally:
        processes.resume("kube-apiserver")
    runner.shows(0.7)


def test_reports_go_on_when_a_server_that_was_killed_is_back(site: Site, open_reporter: Open) -> None:
    control = site.cluster.require_control("servers are stopped")
    runner = site.start_one()
    assert runner.kubeconfig.exists()
    control.stop_apiserver()
    try:
        reporter = open_reporter(runner, wait=False, seconds=0.2)
        reporter.write(Progress(progress=0.1))
        time.sleep(0.5)
        assert reporter.attempt == ""
        assert not reporter.overtaken()
        reporter.write(Progress(progress=0.7))
    finally:
        control.start_apiserver()
    runner.shows(0.7)
    assert reporter.attempt.startswith("1 ")


def test_a_runner_without_rights_works_all_the_same(
    site: Site, open_reporter: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = site.start_one()
    stranger = Runner(site, runner.job, None)
    stranger.kubeconfig = site.kubeconfig("default")
    reporter = open_reporter(stranger, wait=False)
    assert song(reporter) < 0.5
    with Stopwatch() as closing:
        reporter.close()
    assert closing.seconds < 5
    assert "progress_not_reported" in capsys.readouterr().out
    assert "stemjob.dev/progress" not in site.annotations(runner.job)


def test_in_a_cluster_the_mounted_token_is_read_anew_for_each_request(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = site.start_one()
    host, _, port = site.cluster.url.removeprefix("https://").partition(":")
    token = tmp_path / "token"
    token.write_text(site.cluster.token(site.namespace, API))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    authority = site.cluster.api.configuration.ssl_ca_cert
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    reporter = KubernetesReporter(runner.url, seconds=0.2)
    reporter.write(Progress(progress=0.1))
    time.sleep(0.5)
    assert "stemjob.dev/progress" not in site.annotations(runner.job)

    token.write_text(site.cluster.token(site.namespace, RUNNER, runner.pod))

    runner.shows(0.1)
    reporter.close()
