"""Start, stop and watch the servers of the testbed. None outlives the test run (see supervisor.py)."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.testbed import packages, supervisor

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class ServerError(Exception):
    """A server of the testbed did not start or did not do what was asked. The message says why."""


class Processes:
    """A group of servers with a folder of their own. All end, and the folder goes, when it is closed."""

    def __init__(self, *, unshare: Sequence[str] = (), remove: Sequence[Path] = ()) -> None:
        """Start the supervisor.

        Args:
            unshare: command that runs its arguments in namespaces of their own (`unshare ...`), or nothing.
            remove: what else to remove at the end.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="stemjob-testbed-"))
        self.folder.chmod(0o755)
        keep = bool(os.environ.get("STEMJOB_TESTBED_KEEP"))
        self._gone = gone = [*([] if keep else [self.folder]), *remove]
        self._supervisor = subprocess.Popen(
            [*unshare, sys.executable, "-I", "-S", str(SUPERVISOR), *map(str, gone)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": packages.SEARCH_PATH},
            start_new_session=True,  # an interrupt at the terminal is for pytest alone
        )
        self._started: dict[str, dict[str, Any]] = {}
        self._asking = threading.Lock()

    @property
    def pid(self) -> int:
        """The process whose namespaces (network, mounts) the servers share."""
        return self._supervisor.pid

    def start(self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
        """Start a server under a name, with its output in `<name>.log`. Its process id there."""
        log = self.folder / f"{name}.log"
        request = {"name": name, "argv": [str(a) for a in argv], "log": str(log), "env": dict(env or {})}
        self._started[name] = request
        return int(self._ask(do="start", **request)["pid"])

    def stop(self, name: str) -> None:
        """Kill a server (SIGKILL: kube-apiserver takes up to a minute to end in peace)."""
        self._ask(do="stop", name=name)

    def restart(self, name: str) -> None:
        """Start a server that was stopped, just as it was started before."""
        self._ask(do="start", **self._started[name])

    def pause(self, name: str) -> None:
        """Let a server hang: connections are accepted, answers don't come."""
        self._ask(do="signal", name=name, number=int(signal.SIGSTOP))

    def resume(self, name: str) -> None:
        """End of `pause`."""
        self._ask(do="signal", name=name, number=int(signal.SIGCONT))

    def check_alive(self, name: str) -> None:
        """Fail with the end of its log when a server has ended."""
        code = self._ask(do="code", name=name)["code"]
        if code is not None:
            raise ServerError(f"{name} ended with status {code}. Its last words:\n{self.log_tail(name)}")

    def run(self, argv: Sequence[str | Path], *, stdin: str = "", timeout: float = 60) -> str:
        """Run a command where the servers live and give its output; one that fails raises."""
        answer = self._ask(do="run", argv=[str(a) for a in argv], stdin=stdin, timeout=timeout)
        if answer["code"] != 0:
            raise ServerError(
                f"{' '.join(map(str, argv))}: status {answer['code']}: {answer['errors'].strip()}"
            )
        return str(answer["output"])

    def log_tail(self, name: str, lines: int = 30) -> str:
        """The last lines that a server wrote."""
        return "\n".join(Path(self._started[name]["log"]).read_text(errors="replace").splitlines()[-lines:])

    def wait_ready(self, name: str, ready: Callable[[], bool], timeout: float = 60) -> None:
        """Wait until a server is ready; a server that ends meanwhile fails at once."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check_alive(name)
            if time.monotonic() > deadline:
                raise ServerError(f"{name} was not ready after {timeout} s:\n{self.log_tail(name)}")
            time.sleep(0.05)

    def close(self) -> None:
        """Kill all servers and wait until they and their files are gone."""
        if self._supervisor.stdin:
            with suppress(BrokenPipeError):  # the supervisor is gone already
                self._supervisor.stdin.close()
        try:
            self._supervisor.wait(timeout=120)  # images of some GB are removed, too
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        if self._supervisor.stdout:
            self._supervisor.stdout.close()
        if self._supervisor.returncode != 0:  # it never began, or did not get to the end of its own cleaning
            for path in self._gone:
                supervisor.remove_tree(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, **request: Any) -> dict[str, Any]:
        pipe_in, pipe_out = self._supervisor.stdin, self._supervisor.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            with self._asking:
                pipe_in.write(json.dumps(request).encode() + b"\n")
                pipe_in.flush()
                line = pipe_out.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise ServerError(f"the supervisor of {self.folder} is gone (status {self._supervisor.poll()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ServerError(f"{request['do']} {request.get('name', '')}: {answer['error']}")
        return answer


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """TCP ports that nobody listens on at the moment, each one different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def direct(tls: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """Opens addresses of the testbed, whatever HTTP proxy the environment names."""
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )


def answers(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
