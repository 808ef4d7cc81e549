"""Kernels on several threads."""

import threading
import time

import pytest

from runner.layers.threads import on_threads
from tests.runner.layers.layers_of import threads_of_torch


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_all_of_it_is_done(threads: int) -> None:
    done: list[int] = []
    with threads_of_torch(threads):
        on_threads(lambda a, b: done.append(a + b), [(number, 100) for number in range(20)])
        on_threads(done.append, [])
    assert sorted(done) == list(range(100, 120))


def test_an_exception_waits_for_what_began() -> None:
    """Which may still write to memory that the exception would give back."""
    begun, done = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            begun.wait(10)
            raise KeyError(number)
        begun.set()
        time.sleep(0.2)
        done.set()

    with threads_of_torch(2), pytest.raises(KeyError):
        on_threads(work, [(0,), (1,)])
    assert done.is_set()
