"""No server of the testbed outlives the test run, however the run ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.processes import Processes, ServerError, free_ports
from tests.testbed.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(1000)"]

TEST_RUN = f"""
import time
from tests.testbed.processes import Processes
with Processes() as processes:
    pid = processes.start("sleeper", {SLEEPER!r})
    print(pid, processes.folder, flush=True)
    time.sleep(1000)
"""


def lives(pid: int) -> bool:
    """Whether there is such a process (one that waits to be buried is none)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_closed_group_is_gone_with_its_files() -> None:
    with Processes() as processes:
        pid = processes.start("sleeper", SLEEPER)
        wait_for("its first word", lambda: processes.log_tail("sleeper") == "awake")
        assert lives(pid)

    assert not lives(pid)
    assert not processes.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_end_with_an_interrupted_test_run(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TEST_RUN], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as run:
        assert run.stdout
        pid, folder = run.stdout.readline().decode().split()
        assert lives(int(pid))
        os.kill(run.pid, number)

    wait_for("the server to be gone", lambda: not lives(int(pid)))
    wait_for("its files to be gone", lambda: not Path(folder).exists())


def test_servers_end_with_the_supervisor_itself() -> None:
    with Processes() as processes:
        pid = processes.start("sleeper", SLEEPER)
        os.kill(processes.pid, signal.SIGKILL)

        wait_for("the server to be gone", lambda: not lives(pid))
        with pytest.raises(ServerError, match=r"the supervisor of .* is gone"):
            processes.start("another", SLEEPER)
    assert not processes.folder.exists()  # with nobody else left, `close` removed it


def test_a_server_that_ends_at_once_is_reported_with_its_last_words() -> None:
    with Processes() as processes:
        processes.start("hasty", ["sh", "-c", "echo no such flag; exit 3"])
        with pytest.raises(ServerError, match=r"hasty ended with status 3(?s:.*)no such flag"):
            processes.wait_ready("hasty", lambda: False)


def test_a_program_that_is_not_there_is_reported() -> None:
    with Processes() as processes, pytest.raises(ServerError, match="start nothing: FileNotFoundError"):
        processes.start("nothing", ["/no/such/program"])


def test_a_failed_command_tells_why() -> None:
    with Processes() as processes:
        assert processes.run(["cat"], stdin="hello") == "hello"
        with pytest.raises(ServerError, match="status 2: broken"):
            processes.run(["sh", "-c", "echo broken >&2; exit 2"])


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
