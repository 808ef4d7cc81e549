"""Running medians are scipy's, to the last bit."""

import numpy as np
import pytest
from scipy.ndimage import median_filter

from runner.medians import KERNEL, running_medians


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 100])
@pytest.mark.parametrize("columns", [1, 257])
def test_medians_are_scipy_s(count: int, columns: int) -> None:
    values = np.random.default_rng(count).standard_normal((count + KERNEL - 1, columns)).astype(np.float32)

    expected = median_filter(values, size=(KERNEL, 1))[KERNEL // 2 : KERNEL // 2 + count]

    np.testing.assert_array_equal(running_medians(values), expected)


def test_more_columns_than_the_cache_holds_are_scipy_s() -> None:
    values = np.random.default_rng(0).standard_normal((50, 20_000)).astype(np.float32)

    expected = median_filter(values, size=(KERNEL, 1))[KERNEL // 2 : -(KERNEL // 2)]

    np.testing.assert_array_equal(running_medians(values), expected)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_equal_values_do_not_confuse_the_network(levels: int) -> None:
    values = np.random.default_rng(levels).integers(0, levels, (300, 64)).astype(np.float32)

    expected = median_filter(values, size=(KERNEL, 1))[KERNEL // 2 : -(KERNEL // 2)]

    np.testing.assert_array_equal(running_medians(values), expected)


def test_the_input_is_not_changed() -> None:
    values = np.random.default_rng(0).standard_normal((64, 40)).astype(np.float32)
    before = values.copy()
    running_medians(values)
    np.testing.assert_array_equal(values, before)
