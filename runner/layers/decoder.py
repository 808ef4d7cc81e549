"""Demucs' decoder layers, a few rows at a time.

Of `demucs.hdemucs.HDecLayer`: the skip connection is added, a convolution and a gate, residual branches, a
transposed convolution and a GELU. In the frequency branch the residual branches see one row of a frequency
each, so some rows pass through all of it while they are in the cache; in the time branch they need the whole.
The first convolution takes most of the time; in float32 it is computed with fewer products, see `winograd`.

The transposed convolution is a product of matrices and then a sum, see `overlap`. Oracle: the class itself;
equal to rounding.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from demucs.hdemucs import HDecLayer
from torch import nn
from torch.nn import functional

from runner.layers.gate import gate
from runner.layers.overlap import overlap
from runner.layers.tiles import AXIS, cut, in_tiles, tiles
from runner.layers.winograd import ROWS, WinogradConvolution


class TiledDecoder(nn.Module):
    """Stands in for a `HDecLayer` that has no norms, with its weights in `numbers`.

    Takes and gives `(batch, channels, frequencies, time)` or, in the time branch, `(batch, channels, time)`.
    """

    def __init__(self, layer: Any, numbers: torch.dtype) -> None:
        super().__init__()
        self._freq, self._last, self._numbers = bool(layer.freq), bool(layer.last), numbers
        self._pad, self._stride = layer.pad, layer.stride
        self._context = layer.rewrite.kernel_size[0] // 2
        self._convolve = _convolution(layer.rewrite, numbers)
        self._in_fours = isinstance(self._convolve, WinogradConvolution)
        self.dconv = layer.dconv or nn.Identity()
        self.empty = False  # which the network asks
        # A row of the product for each half, output channel and tap.
        taps = layer.conv_tr.weight.detach().flatten(2).unflatten(2, (2, self._stride))
        self._channels, self._outputs = taps.shape[:2]
        self._taps = taps.permute(2, 1, 3, 0).flatten(0, 2).to(numbers)
        self._taps_bias = layer.conv_tr.bias.detach().float().contiguous()

    def forward(self, x: torch.Tensor, skip: torch.Tensor, length: int) -> tuple[torch.Tensor, None]:
        """The input before the transposed convolution, which the class gives too, is not needed here."""
        if self._freq and x.dim() == AXIS + 1:
            x = x.view(len(x), self._channels, -1, x.shape[-1])
        x, skip = x.to(self._numbers), skip.to(self._numbers)
        return (self._by_rows(x, skip) if self._freq else self._by_time(x, skip, length)), None

    def _convolved(self, x: torch.Tensor, skip: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """`(batch, 2 * channels, ...)` or, in fours, `(batch, fours, ROWS, 2 * channels, time)`."""
        first, last = first - self._context, last + self._context
        return self._convolve(cut(x, first, last) + cut(skip, first, last))

    def _gated_rows(self, x: torch.Tensor, skip: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """`(rows, channels, time)` of one example."""
        result = x.new_empty(last - first, x.shape[1], x.shape[3])
        if not self._in_fours:
            gate(self._convolved(x, skip, first, last)[0].transpose(0, 1), result)
            return result
        # The last four may reach beyond the rows, where there are zeros; what comes of them is left out.
        fours = math.ceil((last - first) / ROWS)
        y = self._convolved(x, skip, first, first + ROWS * fours)[0]
        for row in range(min(ROWS, last - first)):
            each = result[row::ROWS]
            gate(y[: len(each), row], each)
        return result

    def _by_rows(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        batch, _, rows, time = x.shape
        # What comes after the last layer is float32.
        numbers = torch.float32 if self._last else self._numbers
        result = x.new_empty(batch, self._outputs, (rows + 1) * self._stride, time, dtype=numbers)
        for example, heard, filled in zip(torch.split(x, 1), torch.split(skip, 1), result, strict=True):
            self._example_by_rows(example, heard, filled)
        return result[:, :, self._pad : self._pad + rows * self._stride]

    def _example_by_rows(self, x: torch.Tensor, skip: torch.Tensor, result: torch.Tensor) -> None:
        _, channels, rows, time = x.shape
        before = None
        for first, last in tiles(rows, channels * time, ROWS if self._in_fours else 1):
            y = self.dconv(self._gated_rows(x, skip, first, last))
            halves = torch.matmul(self._taps, y).view(-1, 2, self._outputs, self._stride, time)
            steps = slice(first * self._stride, (last + (last == rows)) * self._stride)
            overlap(halves, before, self._taps_bias, result[:, steps], then_gelu=not self._last)
            before = halves[-1, 1]

    def _by_time(self, x: torch.Tensor, skip: torch.Tensor, length: int) -> torch.Tensor:
        y = x.new_empty(x.shape)
        for first, last in tiles(x.shape[AXIS], x.shape[1]):
            gate(self._convolved(x, skip, first, last), y[..., first:last])
        y = self.dconv(y)
        steps = x.shape[AXIS] + 1
        result = x.new_empty(len(x), self._outputs, steps, self._stride)
        bias = self._taps_bias[:, None, None].to(self._numbers)

        def part(first: int, last: int) -> torch.Tensor:
            halves = torch.matmul(self._taps, cut(y, first - 1, last))
            halves = halves.view(len(x), 2, self._outputs, self._stride, last - first + 1)
            z = halves[:, 0, ..., 1:].add_(halves[:, 1, ..., :-1]) + bias
            return (z if self._last else functional.gelu(z)).transpose(2, 3)

        return in_tiles(result, part).flatten(2)[..., self._pad : self._pad + length]


def _convolution(layer: Any, numbers: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """A layer's convolution without zeros around the axis that is cut."""
    weight, bias = layer.weight.detach().to(numbers), layer.bias.detach().to(numbers)
    if isinstance(layer, nn.Conv1d):
        return partial(functional.conv1d, weight=weight, bias=bias)
    if numbers is torch.float32 and layer.kernel_size == (3, 3):
        return WinogradConvolution(weight, bias)
    return partial(functional.conv2d, weight=weight, bias=bias, padding=(0, layer.kernel_size[1] // 2))


def can_be_tiled(layer: nn.Module) -> bool:
    """Whether `TiledDecoder` can stand for it: the layers of htdemucs, the outer ones of its kin."""
    return (
        type(layer) is HDecLayer
        and not layer.empty
        and not layer.norm
        and layer.rewrite is not None
        and layer.kernel_size == 2 * layer.stride
        and 0 < 2 * layer.pad == layer.stride
    )
