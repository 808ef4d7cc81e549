"""Build the programs of the testbed: `python -m tests.testbed.build [TOOL ...]`.

Builds what is missing from the pinned Go modules in `tools/` into a cache outside the tree (binaries.py).
What is there already costs nothing. `--packages` installs the Debian packages for the real node and images,
`--images` builds the images of the product.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.testbed import image_store, packages
from tests.testbed.binaries import TOOLS, Tool, cache_folder

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class BuildError(Exception):
    """The message says what to do."""


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    sys.stderr.write(f"testbed: {line}\n")
    sys.stderr.flush()


@contextmanager
def only_one_build() -> Iterator[None]:
    """Wait until no other process builds: two at once would do the same work twice, on the same cores."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_to_the_end(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Run a command and whatever it starts; when this process is stopped, all of that is stopped too."""
    # A signal that comes while the process is being started waits, or nobody would know whom to stop.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
    )
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def stop_in_order(number: int, _: FrameType | None) -> None:
    """A signal's handler: leave through every `finally`."""
    raise SystemExit(128 + number)


def build(tool: Tool) -> None:
    """Build one tool and move it into place in one step, so that nobody ever sees half of it."""
    go = shutil.which("go")
    if go is None:
        raise BuildError("Go is not installed (1.26 or newer is needed; it is not needed for anything else)")
    scratch = Path(tempfile.mkdtemp(prefix=f".{tool.name}-", dir=cache_folder()))
    try:
        # On a temporary name first: `links` may not hold the module's own name.
        command = [
            go,
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            tool.ldflags,
            "-o",
            str(scratch / "built"),
        ]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
        status = run_to_the_end([*command, tool.package], tool.module, environment)
        if status != 0:
            raise BuildError(f"go build of {tool.name} ended with status {status}")
        first, *others = tool.programs
        (scratch / "built").rename(scratch / first)
        for other in others:
            (scratch / other).hardlink_to(scratch / first)
        scratch.chmod(0o755)
        scratch.rename(tool.folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def build_missing(names: list[str]) -> None:
    """Build those of the named tools that are not there yet."""
    if all(TOOLS[name].built() for name in names):
        return
    failed = []
    with only_one_build():
        remove_halves()
        for name in names:
            if TOOLS[name].built():  # by the process that held the lock before
                continue
            began = time.monotonic()
            say(f"building {name} ...")
            try:
                build(TOOLS[name])
            except BuildError as error:
                failed.append(str(error))
                continue
            say(f"built {name} in {time.monotonic() - began:.0f} s")
    if failed:
        raise BuildError("; ".join(failed))


def remove_halves() -> None:
    """Delete what builds that were killed have left. Only for whoever holds the lock."""
    for folder in cache_folder().glob(".*-*"):
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line. 0 when everything asked for is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.build", description=__doc__)
    parser.add_argument(
        "tools", nargs="*", metavar="TOOL", help=f"of {', '.join(TOOLS)}; all when none is named"
    )
    parser.add_argument("--missing", action="store_true", help="build nothing, list what is missing")
    parser.add_argument(
        "--packages", action="store_true", help="install the Debian packages for the real node"
    )
    parser.add_argument("--images", action="store_true", help="build the product's images, as root")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.tools if name not in TOOLS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    names = options.tools or list(TOOLS)
    if options.missing:
        missing = [name for name in names if not TOOLS[name].built()]
        sys.stdout.writelines(f"{name}\n" for name in missing)
        return 1 if missing else 0
    try:
        if options.packages:
            packages.install()
        if options.images:
            for name, dockerfile in image_store.PRODUCT.items():
                image_store.build(dockerfile, name)
        if options.tools or not (options.packages or options.images):
            build_missing(names)
    except (BuildError, image_store.ImageError, packages.NotInstalledError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    for stop in STOPS:
        signal.signal(stop, stop_in_order)
    sys.exit(main())
