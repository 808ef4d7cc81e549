"""For all tests: the testbed's fixtures, and the mark of the tests that need its programs."""

import signal
from pathlib import Path

import pytest

# A shell starts what runs in the background with Ctrl-C ignored, and what we start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.testbed.fixtures"]

_TESTBED = Path(__file__).parent / "testbed"
_NODE = "node_cluster"
_ON_THE_NODE = pytest.mark.xdist_group(_NODE)
_SERVERS = {"cluster", _NODE, "gcs_server", "helm", "api_image", "runner_image"}


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups next
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what needs a program that the testbed builds, so that the rest can run while it builds.

    And says what one process must run when several share the tests: all of a file, and all on the real node,
    of which a machine can have only one. Those go first, because they take longest. What needs a GPU is left
    out where there is none.
    """
    for item in items:
        fixtures: set[str] = set(getattr(item, "fixturenames", ()))
        if _SERVERS & fixtures or _TESTBED in item.path.parents:
            item.add_marker("testbed")
        if _NODE in fixtures:
            item.add_marker(_ON_THE_NODE)
        elif not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.location[0]))
    if any(item.get_closest_marker("gpu") for item in items) and not _has_gpu():
        without = [item for item in items if not item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("gpu")])
        items[:] = without
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") != _ON_THE_NODE.mark)


def _has_gpu() -> bool:
    import torch  # takes seconds, which tests of the API need not

    return torch.cuda.is_available()
