"""Running medians over 31 neighbours, all columns at once: exact, and nothing but numpy.

The median of 31 values is a selection, so a fixed network of minima and maxima finds it without a branch
(D. Knuth, The Art of Computer Programming 3, 5.3.4: K. Batcher's merging networks). Neighbouring windows
share most of their values: sixteen windows have sixteen in common. So values are sorted in aligned blocks of
2, 4, 8 and 16. A tile of sixteen windows begins with its common block; then it is halved again and again,
and each half merges the one block that all of its windows hold besides, keeping only what can still be their
median (the idea is A. Adams', "Fast median filters using separable sorting networks", ACM TOG 2021). That is
22 minima or maxima for each median, on arrays that stay in the processor's cache.

All blocks of a size go through the network together, so that the calls are few. For this the sixteen rows of
a tile are an axis for each bit of their number, the lowest first: `[0]` and `[1]` are the blocks of even and
of odd number, and merging two neighbours takes the axis away.

Oracle: `scipy.ndimage.median_filter`, which librosa calls; the numbers are the same.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from runner.waveform import Block

KERNEL = 31
_TILE = (KERNEL + 1) // 2
"""As many windows have as many values in common."""
_BITS = (2, 2, 2, 2)
"""The rows of a tile by the bits of their number."""
_BIT_REVERSED = np.arange(_TILE).reshape(_BITS).T.reshape(-1)
"""The row of a tile at each place when the lowest bit is the first axis."""
_IN_CACHE = 12_000
"""Values of one row in the network; some seventy rows are in use at once."""

_Sorted = Sequence[Block]
"""Arrays that rise from one to the next, element by element."""


def room(windows: int) -> int:
    """How long an axis must be for so many medians.

    Values begin at index 1, 30 more than medians. What is unused must hold numbers, too; any will do.
    """
    return (-(-windows // _TILE) + 2) * _TILE


def medians_down(values: Block) -> Block:
    """Medians down the columns of `(room(n), m)`: of rows `1 + i` to `31 + i` in row i of `(≥ n, m)`.

    NaN has no order, so there must be none.
    """
    tiles, columns = len(values) // _TILE, values.shape[1]
    medians = np.empty(((tiles - 2) * _TILE, columns), values.dtype)
    # A view as (bits of the row in its tile, tile, column).
    rows, results = (a.reshape(-1, *_BITS, columns).transpose(4, 3, 2, 1, 0, 5) for a in (values, medians))
    for part in _parts(columns, tiles):
        tiled = rows[..., part]
        found = _medians(_contiguous(tiled), tiled.shape[-1])
        results[..., part] = found.reshape(*_BITS, tiles - 2, -1)
    return medians


def medians_along(values: Block) -> Block:
    """Medians along the rows of `(m, room(n))`: of columns `1 + i` to `31 + i` in column i of `(m, ≥ n)`.

    NaN has no order, so there must be none.
    """
    count, tiles = len(values), values.shape[1] // _TILE
    medians = np.empty(values.shape, values.dtype)
    # Tiles of all rows stand in one line. The windows that reach from one row into the next mean nothing.
    for part in _parts(count, tiles):
        tiled = values[part].reshape(-1, *_BITS).transpose(4, 3, 2, 1, 0)
        results = medians[part].reshape(-1, _TILE)[:-2]
        found = _medians(_contiguous(tiled), 1).reshape(_TILE, -1)
        for i, row in zip(_BIT_REVERSED, found, strict=True):  # several times as fast as one assignment
            results[:, i] = row
    return medians


def _parts(count: int, tiles: int) -> list[slice]:
    """`count` columns, of so many tiles each, in parts of about the same size that fit into the cache."""
    parts = -(-count * tiles // _IN_CACHE)
    size = -(-count // parts)
    return [slice(first, first + size) for first in range(0, count, size)]


def _contiguous(tiled: Block) -> Block:
    """The tiles `(2, 2, 2, 2, …)` in memory of their own and in one line: `(2, 2, 2, 2, k)`."""
    return np.ascontiguousarray(tiled).reshape(*_BITS, -1)


def _medians(rows: Block, distance: int) -> Block:
    """Medians of the windows of each tile but the outermost: `(2, 2, 2, 2, k - 2 distance)`.

    From a tile to the next it is `distance`. Window i of a tile begins at its row i + 1: then what is merged
    always lies in aligned blocks. All sixteen windows have the next tile in common. Each step tells them
    apart by one more bit of their number, the highest first: it becomes the first axis.
    """
    levels = _sorted_blocks(rows)
    middle: _Sorted = [block[distance:-distance] for block in levels[_TILE]]
    while len(middle) > 1:
        more = levels[len(middle) // 2]
        above = [block[1][..., : -2 * distance] for block in more]
        below = [block[0][..., 2 * distance :] for block in more]
        middle = _bitonic_sorted(_still_middle(middle, above, below))
    return middle[0]


def _sorted_blocks(rows: Block) -> Mapping[int, _Sorted]:
    """All aligned blocks of the rows of each tile by their size, each sorted."""
    levels: dict[int, _Sorted] = {1: [rows]}
    for size in _MERGES:
        halves = levels[size // 2]
        levels[size] = _merged([half[0] for half in halves], [half[1] for half in halves], _MERGES[size])
    return levels


def _still_middle(middle: _Sorted, above: _Sorted, below: _Sorted) -> list[Block]:
    """The n values in the middle of 2 n and n more, `above` or `below`.

    n of the others are below them, n above. They rise and then fall, or the other way round.
    """
    half = len(above)
    kept = []
    for low, high, *more in zip(middle[:half], middle[half:], reversed(above), reversed(below), strict=True):
        both = np.empty((2, *low.shape), low.dtype)
        for out, other in zip(both, more, strict=True):
            np.maximum(low, np.minimum(high, other, out=out), out=out)
        kept.append(both)
    return kept


def _bitonic_sorted(values: list[Block]) -> list[Block]:
    """Sorts values that rise and then fall, or the other way round; they are lost."""
    half = len(values) // 2
    if half == 0:
        return values
    low = list(map(np.minimum, values[:half], values[half:]))
    high = [np.maximum(a, b, out=b) for a, b in zip(values[:half], values[half:], strict=True)]
    return _bitonic_sorted(low) + _bitonic_sorted(high)


def _merged(low: _Sorted, high: _Sorted, comparators: Sequence[tuple[int, int]]) -> _Sorted:
    """Merges two sorted halves."""
    values: list[Block] = [*map(np.minimum, low, high), *map(np.maximum, low, high)]
    for i, j in comparators:
        smaller = np.minimum(values[i], values[j])
        np.maximum(values[i], values[j], out=values[j])
        values[i] = smaller
    return values


def _odd_even_merge(size: int) -> list[tuple[int, int]]:
    """Batcher's comparators for two sorted halves of together `size` values, a power of two.

    Those that come first, of each value with its counterpart in the other half, are left out.
    """
    comparators: list[tuple[int, int]] = []
    step = size // 4
    while step:
        comparators += [
            (i, i + step) for start in range(step, size - step, 2 * step) for i in range(start, start + step)
        ]
        step //= 2
    return comparators


_MERGES = {size: _odd_even_merge(size) for size in (2, 4, 8, 16)}
