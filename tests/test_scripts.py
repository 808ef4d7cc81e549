"""How `make test` sums up its two batches."""

import pytest

from scripts.test import NOTHING_SELECTED, worst


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (0, 1, 1),
        (2, 1, 2),
        (NOTHING_SELECTED, 0, 0),
        (0, NOTHING_SELECTED, 0),
        (NOTHING_SELECTED, 1, 1),
        (NOTHING_SELECTED, NOTHING_SELECTED, NOTHING_SELECTED),
    ],
)
def test_a_failure_in_either_batch_counts_and_an_empty_one_does_not(
    first: int, second: int, status: int
) -> None:
    assert worst(first, second) == status
