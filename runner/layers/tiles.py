"""A long axis in parts that stay in a core's cache while several operations take them in turn."""

import math
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

_VALUES = 1 << 18
"""Of a part; with a quarter or four times as many layers took longer."""

AXIS = 2
"""Frequencies of `(batch, channels, frequencies, time)`, time of `(batch, channels, time)`."""


def tiles(length: int, values: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Where parts of about one size begin and end, all but the end of the last a multiple of `multiple`.

    `values` are those of one step of the axis.
    """
    units = math.ceil(length / multiple)
    count = min(units, math.ceil(length * values / _VALUES))
    for number in range(count):
        last = (number + 1) * units // count * multiple
        yield number * units // count * multiple, min(length, last)


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
