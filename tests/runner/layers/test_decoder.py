"""Tiled decoder layers against demucs' own."""

from typing import Any

import pytest
import torch
from demucs.hdemucs import HDecLayer

from runner.layers import tiles
from runner.layers.decoder import TiledDecoder, can_be_tiled
from tests.runner.layers.layers_of import assert_equal_to_rounding, shaken

BRANCHES = {"compress": 2, "init": 0.3}


def layer(**changes: Any) -> Any:
    torch.manual_seed(5)
    kind: Any = HDecLayer
    return shaken(kind(4, 3, **{"norm": False, "dconv_kw": BRANCHES, **changes}))


@pytest.mark.parametrize("values", [1, 100, 1_000, 1 << 30])
@pytest.mark.parametrize("shape", [(1, 4, 16, 7), (2, 4, 8, 11), (2, 4, 6, 5), (1, 4, 1, 1)])
@pytest.mark.parametrize("changes", [{}, {"last": True}, {"context_freq": False}, {"dconv": False}])
def test_frequencies_are_equal_to_demucs_in_tiles_of_any_size(
    shape: tuple[int, ...], values: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_VALUES", values)
    plain, x, skip = layer(**changes), torch.randn(shape), torch.randn(shape)
    before = x.clone(), skip.clone()
    with torch.no_grad():
        expected, _ = plain(x, skip, shape[-1])
        assert_equal_to_rounding(TiledDecoder(plain, torch.float32)(x, skip, shape[-1])[0], expected)
    assert torch.equal(x, before[0]), "the input is not changed"
    assert torch.equal(skip, before[1])


@pytest.mark.parametrize("values", [1, 100, 1_000, 1 << 30])
@pytest.mark.parametrize(("frames", "length"), [(100, 400), (101, 401), (101, 403), (1, 4), (1, 2)])
@pytest.mark.parametrize("last", [True, False])
def test_time_is_equal_to_demucs_in_tiles_of_any_size(
    frames: int, length: int, values: int, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_VALUES", values)
    plain, x, skip = layer(freq=False, last=last), torch.randn(2, 4, frames), torch.randn(2, 4, frames)
    with torch.no_grad():
        expected, _ = plain(x, skip, length)
        assert_equal_to_rounding(TiledDecoder(plain, torch.float32)(x, skip, length)[0], expected)


def test_channels_that_come_without_frequencies_are_spread_over_them() -> None:
    """As after the transformer of networks that have no bottom channels."""
    plain, x, skip = layer(), torch.randn(1, 4 * 8, 11), torch.randn(1, 4, 8, 11)
    with torch.no_grad():
        assert_equal_to_rounding(TiledDecoder(plain, torch.float32)(x, skip, 11)[0], plain(x, skip, 11)[0])


@pytest.mark.parametrize("freq", [True, False])
def test_channels_may_lie_after_each_other(freq: bool) -> None:
    """As a transformer leaves them."""
    shape = (1, 16, 9, 4) if freq else (1, 16, 4)
    x, skip = torch.randn(shape).movedim(-1, 1), torch.randn(shape).movedim(-1, 1)
    plain = layer(freq=freq)
    with torch.no_grad():
        expected, _ = plain(x, skip, 64)
        assert_equal_to_rounding(TiledDecoder(plain, torch.float32)(x, skip, 64)[0], expected)


@pytest.mark.parametrize("freq", [True, False])
def test_in_16_bits_it_is_close(freq: bool) -> None:
    x = torch.randn(1, 4, 16, 9) if freq else torch.randn(1, 4, 16)
    plain = layer(freq=freq)
    with torch.no_grad():
        result, _ = TiledDecoder(plain.bfloat16(), torch.bfloat16)(x, x, 64)
        expected, _ = layer(freq=freq)(x, x, 64)
    assert result.dtype is torch.bfloat16
    assert 0 < float((result - expected).norm() / expected.norm()) < 0.03


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": True},
        {"empty": True},
        {"rewrite": False},
        {"kernel_size": 4},
        {"pad": False},
    ],
)
def test_layers_of_another_kind_are_left_alone(changes: dict[str, Any]) -> None:
    assert not can_be_tiled(layer(**changes))
    assert can_be_tiled(layer())
