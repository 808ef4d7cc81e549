"""Running medians over 31 neighbours, exact: the kernels of `runner/kernels/medians.c`.

The median of 31 values is a selection, so a fixed network of minima and maxima finds it without a branch
(D. Knuth, The Art of Computer Programming 3, 5.3.4: K. Batcher's merging networks). Neighbouring windows
share most of their values: sixteen windows have sixteen in common. So values are sorted in aligned blocks of
2, 4, 8 and 16. A tile of sixteen windows begins with its common block; then it is halved again and again,
and each half merges the one block that all of its windows hold besides, keeping only what can still be their
median (the idea is A. Adams', "Fast median filters using separable sorting networks", ACM TOG 2021). That is
22 minima or maxima for each median, of as many columns at once as a register of the processor holds.

Window i of a tile begins at its row i + 1: then what is merged always lies in aligned blocks.

Oracle: `scipy.ndimage.median_filter`, which librosa calls; the numbers are the same.
"""

import numpy as np

from runner.kernels import LENGTH, POINTER, ROWS, kernel, rows
from runner.waveform import Block

KERNEL = 31
_TILE = (KERNEL + 1) // 2
"""As many windows have as many values in common."""

_down = kernel("medians_down", *ROWS, POINTER, LENGTH, LENGTH)
_along = kernel("medians_along", *ROWS, POINTER, LENGTH, LENGTH)


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
    medians = np.empty(((tiles - 2) * _TILE, columns), np.float32)
    _down(*rows(values), medians.ctypes.data, tiles, columns)
    return medians


def medians_along(values: Block) -> Block:
    """Medians along the rows of `(m, room(n))`: of columns `1 + i` to `31 + i` in column i of `(m, ≥ n)`.

    NaN has no order, so there must be none.
    """
    count, tiles = len(values), values.shape[1] // _TILE
    medians = np.empty((count, (tiles - 2) * _TILE), np.float32)
    _along(*rows(values), medians.ctypes.data, count, tiles)
    return medians
