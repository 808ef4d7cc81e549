"""Attention on CPUs with AVX-512, where that is faster than torch's.

softmax(Q Kᵀ / √d) V (A. Vaswani et al., "Attention Is All You Need", 2017, eq. 1), a head at a time: the
kernels of `runner/kernels/attention_bfloat16.c` and `attention_float32.c`. With AVX-512's products of
bfloat16, but without AMX, torch's own is no faster than in 32 bits, and took 2.3 times as long; in float32 it
took 1.2 times as long on an AMD. Scores and sums are float32; weights of values in bfloat16 are that, too, as
they are in torch's. Oracle: `torch.nn.functional.scaled_dot_product_attention`.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from runner import processor
from runner.kernels import LENGTH, POINTER, ROWS, has, kernel
from runner.layers.threads import on_threads

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Attention of each head: `(batch, heads, t, d)`, `(batch, heads, s, d)` twice, to `(batch, heads, t, d)`."""

_MOST_DIMENSIONS = 64
_MULTIPLES = {torch.float32: 16, torch.bfloat16: 2}
"""Of dimensions, by what kernels there may be for."""


def _kernels(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What computes, and how many bytes it needs besides."""
    arguments = (*4 * ROWS, *3 * (LENGTH,), ctypes.c_float, POINTER)
    return kernel(name, *arguments), kernel(f"{name}_room", LENGTH, LENGTH, result=LENGTH)


_KERNELS = {
    numbers: _kernels(name)
    for numbers, name in ((torch.float32, "attend_float32"), (torch.bfloat16, "attend_bfloat16"))
    if has(name)
}


def fastest_attention(numbers: torch.dtype) -> Attend:
    """For such numbers on this CPU; torch's where that is faster, or nobody has measured."""
    torchs_is = processor.has_amx() if numbers is torch.bfloat16 else processor.is_of_intel()
    if torchs_is or numbers not in _KERNELS:
        return functional.scaled_dot_product_attention
    return attend


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """An `Attend` for numbers that there is a kernel for, on as many threads as torch has."""
    batch, heads, moments, dimensions = q.shape
    if dimensions % _MULTIPLES[q.dtype] or dimensions > _MOST_DIMENSIONS:
        return functional.scaled_dot_product_attention(q, k, v)
    assert q.dtype == k.dtype == v.dtype
    assert all(each.stride(-1) == 1 for each in (q, k, v))
    assert k.shape == v.shape
    assert k.shape[2] > 0
    # In memory as the layer wants it next: all heads of a moment after each other.
    result = q.new_empty(batch, moments, heads, dimensions).transpose(1, 2)
    matrices = q, k, v, result
    on_threads(_attend_head, [tuple(x[i, j] for x in matrices) for i in range(batch) for j in range(heads)])
    return result


def _attend_head(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, result: torch.Tensor) -> None:
    compute, room_for = _KERNELS[q.dtype]
    room = torch.empty(room_for(*k.shape), dtype=torch.uint8)
    places = [part for matrix in (q, k, v, result) for part in (matrix.data_ptr(), matrix.stride(0))]
    compute(*places, len(q), len(k), q.shape[1], 1 / math.sqrt(q.shape[1]), room.data_ptr())
