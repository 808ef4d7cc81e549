"""Kernels of our own on as many threads as torch has for whoever calls."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_own = threading.local()


def on_threads(work: Callable[..., object], arguments: Iterable[tuple[Any, ...]]) -> None:
    """Calls `work` with each of the arguments, and returns when all of it is done."""
    threads = torch.get_num_threads()
    each = zip(*arguments, strict=True)
    list(map(work, *each) if threads == 1 else _pool(threads).map(work, *each))


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads of the calling thread's own."""
    if getattr(_own, "threads", None) != threads:
        _own.threads, _own.pool = threads, ThreadPoolExecutor(threads, "layers")
    pool: ThreadPoolExecutor = _own.pool
    return pool
