"""A node that runs whatever comes to it, as far as anybody can see."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kubernetes.client import ApiException

from tests.testbed.fake_node import FakeNode


@contextmanager
def running_all(node: FakeNode) -> Iterator[None]:
    """Every pod that is bound to the node runs and is ready a moment later."""
    closed = threading.Event()

    def run() -> None:
        while not closed.wait(0.2):
            for pod in node.pods():
                if pod.status and pod.status.phase == "Pending":
                    with suppress(ApiException):
                        node.running(pod)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()
