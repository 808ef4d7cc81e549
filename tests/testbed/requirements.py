"""What a test needs and may not find: it skips with one sentence, but fails in continuous integration."""

import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests.testbed import binaries, packages


def require(*names: str) -> list[Path]:
    """Paths of programs that `make testbed` builds."""
    found = {name: binaries.program(name) for name in names}
    absent = [name for name, path in found.items() if path is None]
    if absent:
        missing_counterpart(f"{', '.join(absent)} not built: `make testbed` builds it (needs Go 1.26)")
    return [path for path in found.values() if path]


def require_node() -> None:
    """A machine on which containers can run: Linux, root, a few Debian packages."""
    if os.geteuid() != 0:
        missing_counterpart("a real node needs root: run the tests as root on Debian or Ubuntu")
    absent = packages.missing()
    if absent:
        missing_counterpart(f"a real node needs packages: {packages.command(absent)}")
    allowed = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        missing_counterpart("a real node needs the right to make namespaces, which this container lacks")


def require_image_builder() -> None:
    """A machine on which images can be built: Linux, root, two Debian packages."""
    if os.geteuid() != 0:
        missing_counterpart("building images needs root: run the tests as root on Debian or Ubuntu")
    absent = packages.missing(packages.FOR_IMAGES)
    if absent:
        missing_counterpart(f"building images needs packages: {packages.command(absent)}")


def missing_counterpart(sentence: str) -> NoReturn:
    """Skip the test with this sentence; with CI=true fail, so that nothing goes untested unnoticed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{sentence} (skipped where CI is not true)", pytrace=False)
    pytest.skip(sentence)
