"""Running medians over 31 neighbours, all columns at once: exact, and nothing but numpy.

The median of 31 values is a selection, so a fixed network of minima and maxima finds it without a branch
(D. Knuth, The Art of Computer Programming 3, 5.3.4: K. Batcher's merging networks). Neighbouring windows
share most of their values: sixteen windows have sixteen in common. So values are sorted in aligned blocks of
2, 4, 8 and 16. A tile of sixteen windows begins with its common block; then it is halved again and again,
and each half merges the one block that all of its windows hold besides, keeping only what can still be their
median (the idea is A. Adams', "Fast median filters using separable sorting networks", ACM TOG 2021). That is
22 minima or maxima for each median, on arrays that stay in the processor's cache.

Oracle: `scipy.ndimage.median_filter`, which librosa calls; the numbers are the same.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from runner.waveform import Block

KERNEL = 31
_TILE = (KERNEL + 1) // 2
"""As many windows have as many values in common."""
_IN_CACHE = 16_384
"""Values of one array in the network; some thirty of them are in use at once."""

_Sorted = Sequence[Block]
"""Arrays that rise from one to the next, element by element."""


def running_medians(values: Block) -> Block:
    """Medians down the columns of `(n + 30, m)` where the window fits: `(n, m)`, n and m at least 1.

    The values must be numbers: NaN has no order.
    """
    count, columns = len(values) - KERNEL + 1, values.shape[1]
    tiles = -(-count // _TILE)
    # Window i of tile t begins at row 16 t + i + 1: then what is merged always lies in aligned blocks.
    rows = np.zeros(((tiles + 2) * _TILE, columns), values.dtype)
    rows[1 : 1 + len(values)] = values
    blocks = rows.reshape(tiles + 2, _TILE, columns)
    medians = np.empty((tiles, _TILE, columns), values.dtype)
    at_once = max(1, _IN_CACHE // columns)
    for first in range(0, tiles, at_once):
        last = min(tiles, first + at_once)
        levels = _sorted_blocks([blocks[first : last + 2, row] for row in range(_TILE)])
        common = [block[1:-1] for block in levels[_TILE][0]]
        for i, median in enumerate(_medians(common, 0, levels)):
            medians[first:last, i] = median
    return medians.reshape(tiles * _TILE, columns)[:count]


def _sorted_blocks(rows: _Sorted) -> Mapping[int, Sequence[_Sorted]]:
    """All aligned blocks of sixteen rows by their size, each sorted."""
    levels: dict[int, list[_Sorted]] = {1: [[row] for row in rows]}
    for size in _MERGES:
        halves = levels[size // 2]
        levels[size] = [_merged([*low, *high]) for low, high in zip(halves[::2], halves[1::2], strict=True)]
    return levels


def _medians(middle: _Sorted, first: int, levels: Mapping[int, Sequence[_Sorted]]) -> list[Block]:
    """Medians of the windows `first`, `first + 1`, … of each tile, as many as `middle` has values.

    These windows have rows in common; `middle` is what of them can still be a median.
    """
    half = len(middle) // 2
    if half == 0:
        return list(middle)
    above = [block[:-2] for block in levels[half][first // half + 1]]
    below = [block[2:] for block in levels[half][first // half]]
    return [
        *_medians(_still_middle(middle, above), first, levels),
        *_medians(_still_middle(middle, below), first + half, levels),
    ]


def _still_middle(middle: _Sorted, more: _Sorted) -> _Sorted:
    """The n values in the middle of 2 n and n more: n of the others are below them, n above."""
    half = len(more)
    low = map(np.minimum, middle[half:], reversed(more))
    return _bitonic_sorted(list(map(np.maximum, middle[:half], low)))


def _bitonic_sorted(values: list[Block]) -> list[Block]:
    """Sorts values that rise and then fall, or the other way round."""
    half = len(values) // 2
    if half == 0:
        return values
    low, high = (list(map(pick, values[:half], values[half:])) for pick in (np.minimum, np.maximum))
    return _bitonic_sorted(low) + _bitonic_sorted(high)


def _merged(values: list[Block]) -> _Sorted:
    """Sorts values whose two halves are sorted."""
    for i, j in _MERGES[len(values)]:
        values[i], values[j] = np.minimum(values[i], values[j]), np.maximum(values[i], values[j])
    return values


def _odd_even_merge(size: int) -> list[tuple[int, int]]:
    """Batcher's comparators for two sorted halves of together `size` values, a power of two."""
    half = size // 2
    comparators = [(i, i + half) for i in range(half)]
    step = half // 2
    while step:
        comparators += [
            (i, i + step) for start in range(step, size - step, 2 * step) for i in range(start, start + step)
        ]
        step //= 2
    return comparators


_MERGES = {size: _odd_even_merge(size) for size in (2, 4, 8, 16)}
