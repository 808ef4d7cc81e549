"""Gated linear units, written where they belong: the kernel of `runner/kernels/gate.c`.

x_a * sigmoid(x_b) of the two halves of the channels (Y. Dauphin et al., "Language Modeling with Gated
Convolutional Networks", 2017, eq. 1). torch's own gives a tensor by itself, which then was copied to its
place among others. Oracle: `functional.glu`.
"""

import torch

from runner.kernels import LENGTH, POINTER, kernel
from runner.layers.threads import on_threads

_gate = kernel("gate", *2 * (POINTER, LENGTH, LENGTH), *4 * (LENGTH,))


def gate(wide: torch.Tensor, result: torch.Tensor) -> None:
    """Fills `result`, `(rows, channels, time)`, from `wide`, `(rows, 2 * channels, time)`.

    Both are float32 or bfloat16. Each channel's moments of the result must lie after each other.
    """
    if wide.stride(2) != 1:
        wide = wide.contiguous()
    assert wide.dtype == result.dtype
    assert wide.dtype in (torch.float32, torch.bfloat16)
    assert len(wide) == len(result)
    assert wide.shape[1:] == (2 * result.shape[1], result.shape[2])
    assert result.shape[2] < 2 or result.stride(2) == 1
    threads = torch.get_num_threads()
    axis = 0 if len(wide) >= threads else 2
    parts = (torch.tensor_split(each, threads, axis) for each in (wide, result))
    on_threads(_gate_part, zip(*parts, strict=True))


def _gate_part(wide: torch.Tensor, result: torch.Tensor) -> None:
    places = [(each.data_ptr(), *each.stride()[:2]) for each in (wide, result)]
    _gate(*places[0], *places[1], *result.shape, result.dtype == torch.bfloat16)
