"""Runs servers for a test run and leaves nothing behind when the test run ends, however it ends.

A program of its own, started by `processes.py`. It reads one JSON request per line from standard input and
writes one JSON answer per line. Whoever started it holds the other end of that pipe: when they end, even by
`kill -9`, the pipe closes; then it kills everything it started and removes what it was told to remove.

It imports the standard library only and is started with `python -I -S`, so that it starts at once.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from select import select
from typing import Any

PR_SET_PDEATHSIG = 1
MNT_DETACH = 2
STOP_SECONDS = 5
libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """In a new child: have the kernel kill it when the supervisor dies first."""
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


class Supervisor:
    """The processes started so far, by name, and what to remove at the end."""

    def __init__(self, remove: list[str]) -> None:
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.remove = remove

    def reap(self) -> None:
        """Note which children ended. As process 1 of a PID namespace this also buries adopted orphans."""
        by_pid = {child.pid: child for child in self.children.values()}
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in by_pid:
                    by_pid[pid].returncode = os.waitstatus_to_exitcode(status)

    def start(
        self, name: str, argv: list[str], log: str, env: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Start a server; its output goes to the end of the file `log`."""
        with Path(log).open("ab") as output:
            self.children[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        return {"pid": self.children[name].pid}

    def stop(self, name: str) -> dict[str, Any]:
        """Kill a server and wait until it is gone. Killing one that has ended is no error."""
        child = self.children.pop(name)
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
        child.returncode = -signal.SIGKILL
        return {}

    def signal(self, name: str, number: int) -> dict[str, Any]:
        """Send a signal, for example SIGSTOP for a server that hangs: that it does when this returns."""
        child = self.children[name]
        os.kill(child.pid, number)
        if number == signal.SIGSTOP:
            self.wait_until_stopped(child)
        return {}

    @staticmethod
    def wait_until_stopped(child: "subprocess.Popen[bytes]") -> None:
        """A thread of the server may still answer until all of them have stopped; the parent is told then."""
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)
            if pid and not os.WIFSTOPPED(status):
                child.returncode = os.waitstatus_to_exitcode(status)
            if pid:
                return
            time.sleep(0.001)

    def code(self, name: str) -> dict[str, Any]:
        """The exit status of a server, None while it runs."""
        self.reap()
        return {"code": self.children[name].returncode}

    def run(self, argv: list[str], stdin: str = "", timeout: float = 60) -> dict[str, Any]:
        """Run a command to its end, where the servers live."""
        try:
            done = subprocess.run(
                argv, input=stdin.encode(), capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return {"code": 124, "output": "", "errors": f"no end after {timeout} s"}
        return {"code": done.returncode, "output": text(done.stdout), "errors": text(done.stderr)}

    def serve(self) -> None:
        """Answer requests until the pipe closes."""
        buffered = b""
        while True:
            ready, _, _ = select([0], [], [], 1.0)
            self.reap()
            if not ready:
                continue
            chunk = os.read(0, 65536)
            if not chunk:
                return
            *lines, buffered = (buffered + chunk).split(b"\n")
            for line in lines:
                request = json.loads(line)
                try:
                    answer = getattr(self, request.pop("do"))(**request)
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                os.write(1, json.dumps(answer).encode() + b"\n")

    def end(self) -> None:
        """Kill all, then remove files and control groups."""
        if (
            os.getpid() == 1
        ):  # of a PID namespace: container shims have left their parents, but not the namespace
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.wait()
            unmount_below(self.remove)
        else:
            for name in list(self.children):
                self.stop(name)
        for path in self.remove:
            remove_tree(Path(path))


def text(output: bytes) -> str:
    return output.decode(errors="replace")


def unmount_below(folders: list[str]) -> None:
    """Undo the mounts of killed containers, lest removing their folders removes what is mounted there."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if any(Path(point).is_relative_to(folder) for folder in folders):
            libc.umount2(point.encode(), MNT_DETACH)


def remove_tree(path: Path) -> None:
    """Remove a folder of files, or a control group, whose files can't be unlinked but whose folders can."""
    if "cgroup" not in path.parts:
        shutil.rmtree(path, ignore_errors=True)
        return
    for _ in range(50):  # a group stays busy for a moment after its last process
        for folder, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        if not path.exists():
            return
        time.sleep(0.1)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pipe alone says when to end
    supervisor = Supervisor(remove=sys.argv[1:])
    try:
        supervisor.serve()
    finally:
        supervisor.end()
