"""Attention in 16 bits on CPUs with AVX-512's products of bfloat16, but without AMX.

softmax(Q Kᵀ / √d) V (A. Vaswani et al., "Attention Is All You Need", 2017, eq. 1), a head at a time: the
kernel of `runner/kernels/attention.c`. torch's own is no faster there than in 32 bits, and took 2.3 times as
long. Scores and sums are float32, weights of values bfloat16, as they are in torch's. Oracle:
`torch.nn.functional.scaled_dot_product_attention`.
"""

import ctypes
import math
from collections.abc import Callable

import torch
from torch.nn import functional

from runner import processor
from runner.kernels import LENGTH, POINTER, ROWS, has, kernel
from runner.layers.threads import on_threads

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Attention of each head: `(batch, heads, t, d)`, `(batch, heads, s, d)` twice, to `(batch, heads, t, d)`."""

_MOST_DIMENSIONS = 64
_HAS_KERNEL = has("attend")
if _HAS_KERNEL:
    _room = kernel("attend_room", LENGTH, result=LENGTH)
    _attend = kernel("attend", *4 * ROWS, *3 * (LENGTH,), ctypes.c_float, POINTER)


def fastest_attention() -> Attend:
    """For bfloat16 on this CPU; where it is neither of x86's kinds, nobody has measured."""
    if processor.has_amx() or not _HAS_KERNEL:
        return functional.scaled_dot_product_attention
    return attend


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """An `Attend` for bfloat16, on as many threads as torch has."""
    batch, heads, moments, dimensions = q.shape
    if dimensions % 2 or dimensions > _MOST_DIMENSIONS:
        return functional.scaled_dot_product_attention(q, k, v)
    assert all(each.dtype == torch.bfloat16 and each.stride(-1) == 1 for each in (q, k, v))
    assert k.shape == v.shape
    assert k.shape[2] > 0
    # In memory as the layer wants it next: all heads of a moment after each other.
    result = q.new_empty(batch, moments, heads, dimensions).transpose(1, 2)
    matrices = q, k, v, result
    on_threads(_attend_head, [tuple(x[i, j] for x in matrices) for i in range(batch) for j in range(heads)])
    return result


def _attend_head(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, result: torch.Tensor) -> None:
    room = torch.empty(_room(len(k)), dtype=torch.uint8)
    places = [part for matrix in (q, k, v, result) for part in (matrix.data_ptr(), matrix.stride(0))]
    _attend(*places, len(q), len(k), q.shape[1], 1 / math.sqrt(q.shape[1]), room.data_ptr())
