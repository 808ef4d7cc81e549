"""Where parts of an axis begin and end."""

import pytest

from runner.layers import tiles


@pytest.mark.parametrize("size", [1, 100, 1 << 30])
@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("length", [1, 4, 6, 33])
def test_parts_follow_each_other_and_begin_at_multiples(
    length: int, multiple: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_VALUES", size)
    parts = list(tiles.tiles(length, 10, multiple))
    assert [step for first, last in parts for step in range(first, last)] == list(range(length))
    assert all(first < last and first % multiple == 0 for first, last in parts)


@pytest.mark.parametrize(("multiple", "count"), [(1, 4), (4, 4), (16, 2)])
def test_parts_are_of_about_the_size_or_one_multiple(
    multiple: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_VALUES", 80)
    assert len(list(tiles.tiles(32, 10, multiple))) == count
