"""Forks API servers out of a process that has loaded all they need: for tests that start dozens of them.

A server is `python -m api` in all but that: a process with settings of its own, which can be killed.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.testbed.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
_LOADED = ("api.__main__", "contract.stores.gcs", "api.launchers.kubernetes", "kubernetes.client")
_SERVES = "stemjob serves on "


class Forge:
    """Starts servers. They end with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pids: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.api.forked"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, environment: Mapping[str, str]) -> tuple[int, str]:
        """Process id and address of a new server."""
        log = self._folder / f"api-{len(self._pids)}.log"
        assert self._process.stdin
        assert self._process.stdout
        order = {"environment": {"HOST": "127.0.0.1", "PORT": "0", **environment}, "log": str(log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._pids.append(int(self._process.stdout.readline()))

        def address() -> str:
            lines = log.read_text().splitlines() if log.exists() else []
            return next((line.removeprefix(_SERVES) for line in lines if line.startswith(_SERVES)), "")

        return self._pids[-1], wait_for("the server to serve", address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # which closes its standard input, and that ends it and its servers
        assert self._process.returncode == 0


def kill(pid: int) -> None:
    """SIGKILL, and no return before the process is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for("the server to be dead", lambda: not Path(f"/proc/{pid}").exists())


def main() -> None:
    """Forks a server for every line on standard input, and answers with its process id."""
    for module in _LOADED:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a killed server is no zombie
    pids: list[int] = []
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _serve(order["environment"], order["log"])
        pids.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in pids:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)


def _serve(environment: Mapping[str, str], log: str) -> None:
    from api.__main__ import main as serve

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environment)
    os._exit(serve())


if __name__ == "__main__":
    main()
