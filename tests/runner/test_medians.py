"""Running medians are scipy's, to the last bit."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import median_filter

from runner.medians import KERNEL, medians_along, medians_down, room
from runner.waveform import Block


def down(values: Block) -> Block:
    """Medians down the columns of `(n + 30, m)` where the window fits."""
    count = len(values) - KERNEL + 1
    return medians_down(np.pad(values, ((1, room(count) - 1 - len(values)), (0, 0))))[:count]


def along(values: Block) -> Block:
    """The same along the rows, so that both are tested alike."""
    count = len(values) - KERNEL + 1
    padded = np.pad(values.T, ((0, 0), (1, room(count) - 1 - len(values))))
    return medians_along(np.ascontiguousarray(padded))[:, :count].T


def scipys(values: Block) -> Block:
    middle: Block = median_filter(values, size=(KERNEL, 1))[KERNEL // 2 : len(values) - KERNEL // 2]
    return middle


both = pytest.mark.parametrize("medians", [down, along])


@both
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 100])
@pytest.mark.parametrize("columns", [1, 2, 257])
def test_medians_are_scipy_s(medians: Callable[[Block], Block], count: int, columns: int) -> None:
    values = np.random.default_rng(count).standard_normal((count + KERNEL - 1, columns)).astype(np.float32)

    np.testing.assert_array_equal(medians(values), scipys(values))


@both
@pytest.mark.parametrize("shape", [(50, 20_000), (200_000, 2)], ids=["wide", "long"])
def test_many_medians_are_scipy_s(medians: Callable[[Block], Block], shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    np.testing.assert_array_equal(medians(values), scipys(values))


@both
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_equal_values_do_not_confuse_the_network(medians: Callable[[Block], Block], levels: int) -> None:
    values = np.random.default_rng(levels).integers(0, levels, (300, 64)).astype(np.float32)

    np.testing.assert_array_equal(medians(values), scipys(values))


@both
def test_the_input_is_not_changed(medians: Callable[[Block], Block]) -> None:
    values = np.random.default_rng(0).standard_normal((64, 40)).astype(np.float32)
    before = values.copy()
    medians(values)
    np.testing.assert_array_equal(values, before)


@both
def test_unused_places_may_hold_any_number(medians: Callable[[Block], Block]) -> None:
    values = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    tiled = np.full((room(10), 3), 1e30, np.float32)
    tiled[1:41] = values

    found = medians_down(tiled) if medians is down else medians_along(np.ascontiguousarray(tiled.T)).T

    np.testing.assert_array_equal(found[:10], scipys(values))
