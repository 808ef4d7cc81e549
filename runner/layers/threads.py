"""Kernels of our own on as many threads as torch has for whoever calls."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

_own = threading.local()


def on_threads(work: Callable[..., object], arguments: Iterable[tuple[Any, ...]]) -> None:
    """Calls `work` with each of the arguments, and returns or raises when all that began is done."""
    threads = torch.get_num_threads()
    if threads == 1:
        for each in arguments:
            work(*each)
        return
    futures = [_pool(threads).submit(work, *each) for each in arguments]
    try:
        for future in futures:
            future.result()
    finally:
        # A cancelled job leaves by an exception, and with it the memory that kernels still write to.
        for future in futures:
            future.cancel()
        wait(futures)


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads of the calling thread's own."""
    if getattr(_own, "threads", None) != threads:
        _own.threads, _own.pool = threads, ThreadPoolExecutor(threads, "layers")
    pool: ThreadPoolExecutor = _own.pool
    return pool
