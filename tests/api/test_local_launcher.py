"""The local launcher, with real processes: order, bound, and what survives the death of API and runner."""

import os
import signal
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from api.launchers.local import LauncherInUse, LocalLauncher
from contract.job import JobSpec
from contract.layout import manifest_key
from contract.manifest import Manifest
from tests.api.conftest import Serve, Server, is_locked
from tests.audio import song

LONG_SONG = song(15.0)
SHORT_SONG = song(0.5)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def logging_runner(tmp_path: Path) -> str:
    """In place of the interpreter: a process that notes when it begins and ends, and takes half a second."""
    script = tmp_path / "runner"
    script.write_text(
        f'#!/bin/sh\necho "begin $STEMJOB_JOB_ID" >> {tmp_path}/log\nsleep 0.5\n'
        f'echo "end $STEMJOB_JOB_ID" >> {tmp_path}/log\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


@pytest.fixture
def launchers() -> Iterator[list[LocalLauncher]]:
    opened: list[LocalLauncher] = []
    yield opened
    for launcher in opened:
        launcher.close()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_jobs_begin_in_order_and_no_more_than_allowed_run_at_once(
    tmp_path: Path, logging_runner: str, launchers: list[LocalLauncher], concurrency: int
) -> None:
    launcher = LocalLauncher(tmp_path / "state", concurrency=concurrency, python=logging_runner)
    launchers.append(launcher)
    ids = [str(uuid.uuid4()) for _ in range(5)]
    for job_id in ids:
        launcher.launch(JobSpec(job_id=job_id, store="file:///nowhere"))
    wait_for(lambda: sorted(launcher.finished()) == sorted(ids))

    events = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [job_id for event, job_id in events if event == "begin"] == ids
    running = most = 0
    for event, _ in events:
        running += 1 if event == "begin" else -1
        most = max(most, running)
    assert most == concurrency


def test_a_waiting_job_says_how_many_are_before_it(
    tmp_path: Path, logging_runner: str, launchers: list[LocalLauncher]
) -> None:
    launcher = LocalLauncher(tmp_path / "state", concurrency=1, python=logging_runner)
    launchers.append(launcher)
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for job_id in ids:
        launcher.launch(JobSpec(job_id=job_id, store="file:///nowhere"))

    seen = launcher.observe(ids[2])
    assert seen is not None
    assert seen.waiting is not None
    assert seen.waiting.message == "2 songs are before this one."
    wait_for(lambda: len(list(launcher.finished())) == 3)


def test_a_job_that_is_launched_twice_runs_once(
    tmp_path: Path, logging_runner: str, launchers: list[LocalLauncher]
) -> None:
    launcher = LocalLauncher(tmp_path / "state", concurrency=2, python=logging_runner)
    launchers.append(launcher)
    spec = JobSpec(job_id=str(uuid.uuid4()), store="file:///nowhere")
    for _ in range(3):
        launcher.launch(spec)
        time.sleep(0.3)
    wait_for(lambda: list(launcher.finished()) == [spec.job_id])
    launcher.launch(spec)
    time.sleep(0.3)

    assert (tmp_path / "log").read_text().count("begin") == 1


def test_what_waits_and_what_runs_survives_the_launcher(
    tmp_path: Path, logging_runner: str, launchers: list[LocalLauncher]
) -> None:
    first = LocalLauncher(tmp_path / "state", concurrency=1, python=logging_runner)
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for job_id in ids:
        first.launch(JobSpec(job_id=job_id, store="file:///nowhere"))
    wait_for(lambda: (tmp_path / "log").exists())
    first.close()

    second = LocalLauncher(tmp_path / "state", concurrency=1, python=logging_runner)
    launchers.append(second)
    wait_for(lambda: sorted(second.finished()) == sorted(ids))

    begun = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines() if "begin" in line]
    assert begun == ids


def test_a_job_that_was_forgotten_is_unknown_and_not_queued(
    tmp_path: Path, logging_runner: str, launchers: list[LocalLauncher]
) -> None:
    launcher = LocalLauncher(tmp_path / "state", concurrency=1, python=logging_runner)
    launchers.append(launcher)
    spec = JobSpec(job_id=str(uuid.uuid4()), store="file:///nowhere")
    launcher.launch(spec)
    seen = []
    while True:
        observation = launcher.observe(spec.job_id)
        seen.append("unknown" if observation is None else "ended" if observation.finished else "going on")
        if observation is None:
            break
        if observation.finished:
            launcher.forget(spec.job_id)

    assert [word for word, before in zip(seen, [None, *seen], strict=False) if word != before] == [
        "going on",
        "ended",
        "unknown",
    ]


def test_a_folder_that_nobody_understands_does_not_stop_the_queue(
    tmp_path: Path, logging_runner: str, launchers: list[LocalLauncher]
) -> None:
    broken = tmp_path / "state" / "jobs" / "broken"
    broken.mkdir(parents=True)
    (broken / "order.json").write_text('{"version": 99}')
    launcher = LocalLauncher(tmp_path / "state", concurrency=1, python=logging_runner)
    launchers.append(launcher)
    job_id = str(uuid.uuid4())

    launcher.launch(JobSpec(job_id=job_id, store="file:///nowhere"))

    wait_for(lambda: list(launcher.finished()) == [job_id], 20)


def test_a_state_folder_has_one_launcher(tmp_path: Path, launchers: list[LocalLauncher]) -> None:
    launchers.append(LocalLauncher(tmp_path, concurrency=1))

    with pytest.raises(LauncherInUse, match="Another stemjob API already works"):
        LocalLauncher(tmp_path, concurrency=1)


def upload(client: httpx.Client, content: bytes) -> str:
    answer = client.post("/process", files={"file": ("song.wav", content)})
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def wait_until_running(server: Server, job_id: str) -> None:
    """Until the runner works on the song: its first stage has begun."""
    with server.client() as client:
        wait_for(lambda: client.get(f"/job/{job_id}").json()["stages"][0]["status"] == "processing", 120)


def test_killing_the_api_in_the_middle_of_a_song_loses_nothing(serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        running, waiting = upload(client, LONG_SONG), upload(client, SHORT_SONG)
    wait_until_running(server, running)
    runner = psutil.Process(server.runner_pid(running))
    runner.suspend()  # the song may be done before an API on a busy machine has started

    server.kill()
    assert runner.is_running()
    server.start()

    with server.client() as client:
        assert client.get(f"/job/{running}").json()["status"] == "processing"
        runner.resume()
        wait_for(lambda: client.get(f"/job/{waiting}").json()["status"] == "completed", 240)
        assert client.get(f"/job/{running}").json()["status"] == "completed"


def test_killing_a_runner_fails_its_job_as_lost_at_the_next_read(serve: Serve) -> None:
    server = serve(STEMJOB_SWEEP_SECONDS="2")
    with server.client() as client:
        job_id = upload(client, LONG_SONG)
        wait_until_running(server, job_id)
        folder = server.jobs_folder / job_id
        pid = server.runner_pid(job_id)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not folder.exists() or not is_locked(folder / "lock"), 10)

        body = client.get(f"/job/{job_id}").json()
        assert (body["status"], body["code"]) == ("failed", "lost")
        assert body["error"].endswith(".")
        assert [stage["status"] for stage in body["stages"]] == ["failed", "pending", "pending", "pending"]
        assert body["stages"][0]["error"] == body["error"]

        wait_for(lambda: not folder.exists(), 20)  # the sweep has written it down
        found = server.store.get(manifest_key(job_id))
        assert found is not None
        assert Manifest.model_validate_json(found[0]).answer.code == "lost"
        again = client.get(f"/job/{job_id}").json()
        assert (again["status"], again["code"]) == ("failed", "lost")
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert [child for child in children if child.status() == psutil.STATUS_ZOMBIE] == []


def test_a_finished_job_leaves_nothing_in_the_state_folder(serve: Serve) -> None:
    server = serve(STEMJOB_SWEEP_SECONDS="1")
    with server.client() as client:
        job_id = upload(client, SHORT_SONG)
        wait_for(lambda: client.get(f"/job/{job_id}").json()["status"] == "completed", 120)
        wait_for(lambda: list(server.jobs_folder.iterdir()) == [], 20)

        assert client.get(f"/job/{job_id}").json()["status"] == "completed"
    assert [path.name for path in (server.folder / "store" / ".tmp").iterdir()] == ["lock"]
    assert server.process is not None
    assert psutil.Process(server.process.pid).children() == []
