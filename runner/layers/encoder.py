"""Demucs' encoder layers, a few rows at a time.

Of `demucs.hdemucs.HEncLayer`: a strided convolution, a GELU, residual branches, a 1x1 convolution and a gate.
In the frequency branch nothing but the first looks beyond its row of one frequency, so some rows pass through
all of it while they are in the cache; in the time branch only the residual branches need the whole. Oracle:
the class itself; equal to rounding.
"""

from typing import Any

import torch
from demucs.hdemucs import HEncLayer
from torch import nn
from torch.nn import functional

from runner.layers.gate import gate
from runner.layers.tiles import AXIS, cut, in_tiles, tiles


class TiledEncoder(nn.Module):
    """Stands in for a `HEncLayer` that has no norms, with its weights in `numbers`.

    Takes and gives `(batch, channels, frequencies, time)` or, in the time branch, `(batch, channels, time)`.
    """

    def __init__(self, layer: Any, numbers: torch.dtype) -> None:
        super().__init__()
        self._freq, self._numbers = bool(layer.freq), numbers
        self._kernel, self._stride, self._pad = layer.kernel_size, layer.stride, layer.pad
        self._weight = layer.conv.weight.detach().to(numbers)
        self._bias = layer.conv.bias.detach().to(numbers)
        self._gate_weight = layer.rewrite.weight.detach().flatten(1).to(numbers)
        self._gate_bias = layer.rewrite.bias.detach().to(numbers)[:, None]
        self.dconv = layer.dconv or nn.Identity()
        self.empty = False  # which the network asks

    def forward(self, x: torch.Tensor, inject: None = None) -> torch.Tensor:
        assert inject is None
        x = x.to(self._numbers)
        steps = -(-x.shape[AXIS] // self._stride)
        y = x.new_empty(len(x), len(self._weight), steps, *x.shape[AXIS + 1 :])
        if not self._freq:
            return self._by_time(x, y)
        for first, last in tiles(steps, y[:, :, 0].numel() // len(x)):
            rows = self.dconv(_as_rows(self._front(x, first, last)))
            for example, filled in zip(torch.split(rows, last - first), y, strict=True):
                gate(self._widened(example), filled[:, first:last].transpose(0, 1))
        return y

    def _by_time(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        y = self.dconv(in_tiles(y, lambda first, last: self._front(x, first, last)))
        result = y.new_empty(y.shape)
        for first, last in tiles(y.shape[AXIS], y.shape[1]):
            gate(self._widened(y[..., first:last]), result[..., first:last])
        return result

    def _front(self, x: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Steps `first` to `last` after the strided convolution and its GELU."""
        start = first * self._stride - self._pad
        part = cut(x, start, start + (last - first - 1) * self._stride + self._kernel)
        if self._freq:
            return functional.gelu(functional.conv2d(part, self._weight, self._bias, (self._stride, 1)))
        return functional.gelu(functional.conv1d(part, self._weight, self._bias, self._stride))

    def _widened(self, rows: torch.Tensor) -> torch.Tensor:
        weight = self._gate_weight.expand(len(rows), -1, -1)
        return torch.baddbmm(self._gate_bias, weight, rows)


def _as_rows(y: torch.Tensor) -> torch.Tensor:
    """`(batch, channels, frequencies, time)` as `(batch * frequencies, channels, time)`."""
    return y.transpose(1, 2).flatten(0, 1)


def can_be_tiled(layer: nn.Module) -> bool:
    """Whether `TiledEncoder` can stand for it: the layers of htdemucs, the outer ones of its kin."""
    return (
        type(layer) is HEncLayer
        and not layer.empty
        and not layer.norm
        and layer.rewrite is not None
        and set(layer.rewrite.weight.shape[2:]) == {1}
        and layer.kernel_size - layer.stride == 2 * layer.pad
    )
