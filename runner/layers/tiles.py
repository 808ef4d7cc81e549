"""A long axis in parts that stay in a core's cache while several operations take them in turn."""

import math
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

_VALUES = 1 << 18
"""Of a part; with a quarter or four times as many layers took longer, see docs/performance.md."""

AXIS = 2
"""Frequencies of `(batch, channels, frequencies, time)`, time of `(batch, channels, time)`."""


def tiles(length: int, values: int) -> Iterator[tuple[int, int]]:
    """Where parts of about one size begin and end; `values` are those of one step of the axis."""
    count = min(length, math.ceil(length * values / _VALUES))
    for number in range(count):
        yield number * length // count, (number + 1) * length // count


def cut(x: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Steps `first` to `last` of the axis, with zeros where there are none."""
    length = x.shape[AXIS]
    part = x.narrow(AXIS, max(0, first), min(length, last) - max(0, first))
    if first >= 0 and last <= length:
        return part
    margins = [0, 0] * (x.dim() - 1 - AXIS) + [max(0, -first), max(0, last - length)]
    return functional.pad(part, margins)


def in_tiles(result: torch.Tensor, part: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
    """`result`, `(batch, channels, ...)`, filled by what `part(first, last)` gives of each part."""
    values = result[:, :, 0].numel() // len(result)
    for first, last in tiles(result.shape[AXIS], values):
        result[:, :, first:last] = part(first, last)
    return result
