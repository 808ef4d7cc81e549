"""Loops that neither numpy nor torch has, or has in more passes over memory, in C.

There is a file for each, and headers that they share; they are compiled for several kinds of processor. A
kernel reads and writes arrays and keeps nothing; the module of the runner that wraps it says what it does.
Python's lock is free meanwhile.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from runner import processor
from runner.kernels.build import library

LENGTH = ctypes.c_long
POINTER = ctypes.c_void_p
ROWS = (POINTER, LENGTH)
"""What `rows` gives."""


def _load() -> ctypes.CDLL:
    """The kernels for the kind of processor that this is.

    Raises:
        ImportError: they have not been compiled.
    """
    kind = torch.backends.cpu.get_cpu_capability().lower()
    if kind == "avx512" and processor.has_avx512_bf16():
        kind = "avx512_bf16"
    made = library(kind)
    try:
        return ctypes.CDLL(str(made if made.exists() else library("default")))
    except OSError as error:
        raise ImportError("The runner's kernels are not compiled: see runner/kernels/build.py.") from error


_KERNELS = _load()


def has(name: str) -> bool:
    """Whether there is a kernel of that name for this kind of processor."""
    return hasattr(_KERNELS, name)


def kernel(name: str, *arguments: Any, result: Any = None) -> Callable[..., Any]:
    """The kernel of that name, with the types of its arguments and its result."""
    function = getattr(_KERNELS, name)
    function.argtypes, function.restype = arguments, result
    return function  # type: ignore[no-any-return]


def rows(array: NDArray[np.float32]) -> tuple[int, int]:
    """Where a matrix begins, and how many values later its next row does.

    Each row must be in one piece. Whoever asks must keep the array until the kernel is done.
    """
    assert array.dtype == np.float32
    assert array.ndim == 2
    assert array.shape[1] < 2 or array.strides[1] == array.itemsize
    return array.ctypes.data, array.strides[0] // array.itemsize
