"""For all tests: the testbed's fixtures, and the mark of the tests that need its programs."""

import signal
from pathlib import Path

import pytest

# A shell starts what runs in the background with Ctrl-C ignored, and what we start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.testbed.fixtures"]

_TESTBED = Path(__file__).parent / "testbed"
_SERVERS = {"cluster", "node_cluster", "gcs_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a program that the testbed builds, so that the rest can run while it builds."""
    for item in items:
        fixtures: set[str] = set(getattr(item, "fixturenames", ()))
        if _SERVERS & fixtures or _TESTBED in item.path.parents:
            item.add_marker("testbed")
