"""`make test`: all tests. Builds the testbed's programs first where they are missing and Go is there.

That takes ten minutes and more, once; meanwhile the tests run that don't need them. Where they cannot be
built, the tests that need them skip and say so; with CI=true they fail.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

BUILD = [sys.executable, "-m", "tests.testbed.build"]
WORKERS = min((os.cpu_count() or 1) + 1, 4)
"""Processes that share the tests. One more than CPUs, because many tests wait for a server; each may start a
control plane of 0.7 GB.
"""
PYTEST = [sys.executable, "-m", "pytest", f"--numprocesses={WORKERS}", "--dist=loadgroup"]
PYTEST += ["--no-loadscope-reorder"]  # tests/conftest.py puts the longest group first
NOTHING_SELECTED = 5


def main(arguments: list[str]) -> int:
    """The status of the tests: 0 when all that ran passed."""
    in_ci = os.environ.get("CI", "").lower() == "true"
    if not in_ci or os.geteuid() != 0:
        return _test(arguments)
    subprocess.run([*BUILD, "--packages"], check=False)  # what is missing then fails its own tests
    # A head start only: the tests that need the images build what is not there yet, and say what fails.
    with _background([*BUILD, "--images"], subprocess.DEVNULL):
        return _test(arguments)


def _test(arguments: list[str]) -> int:
    missing = subprocess.run([*BUILD, "--missing"], stdout=subprocess.DEVNULL, check=False).returncode != 0
    if not missing or shutil.which("go") is None:
        return subprocess.run([*PYTEST, *arguments], check=False).returncode
    return _test_while_building(arguments)


def _test_while_building(arguments: list[str]) -> int:
    print("Building the testbed's programs meanwhile (once) ...", flush=True)
    with tempfile.TemporaryFile() as log, _background(BUILD, log) as build:
        first = subprocess.run([*PYTEST, "-m", "not testbed", *arguments], check=False).returncode
        if build.wait() != 0:
            log.seek(0)
            sys.stderr.buffer.write(log.read()[-4000:])
            print("The testbed's programs could not be built, see above.", file=sys.stderr, flush=True)
    second = subprocess.run([*PYTEST, "-m", "testbed", *arguments], check=False).returncode
    return worst(first, second)


@contextmanager
def _background(command: list[str], log: IO[bytes] | int) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs meanwhile and gives way to the tests; it ends with the context."""
    process = subprocess.Popen(["nice", "-n", "5", *command], stdout=log, stderr=log, start_new_session=True)
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _interrupt)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def worst(first: int, second: int) -> int:
    """One status of two runs, of which one may have had nothing to do."""
    failed = [status for status in (first, second) if status not in (0, NOTHING_SELECTED)]
    if failed:
        return failed[0]
    return NOTHING_SELECTED if first == second == NOTHING_SELECTED else 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
