"""Tiled encoder layers against demucs' own."""

from typing import Any

import pytest
import torch
from demucs.hdemucs import HEncLayer

from runner.layers import tiles
from runner.layers.encoder import TiledEncoder, can_be_tiled
from tests.runner.layers.layers_of import assert_equal_to_rounding, shaken

BRANCHES = {"compress": 2, "init": 0.3}


def layer(**changes: Any) -> Any:
    torch.manual_seed(5)
    kind: Any = HEncLayer
    return shaken(kind(3, 4, **{"norm": False, "dconv_kw": BRANCHES, **changes}))


@pytest.mark.parametrize("values", [1, 100, 1_000, 1 << 30])
@pytest.mark.parametrize("shape", [(1, 3, 64, 7), (2, 3, 32, 11), (1, 3, 4, 1)])
@pytest.mark.parametrize("changes", [{}, {"dconv": False}])
def test_frequencies_are_equal_to_demucs_in_tiles_of_any_size(
    shape: tuple[int, ...], values: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_VALUES", values)
    plain, x = layer(**changes), torch.randn(shape)
    before = x.clone()
    with torch.no_grad():
        assert_equal_to_rounding(TiledEncoder(plain, torch.float32)(x), plain(x))
    assert torch.equal(x, before), "the input is not changed"


@pytest.mark.parametrize("values", [1, 100, 1_000, 1 << 30])
@pytest.mark.parametrize("shape", [(1, 3, 400), (2, 3, 401), (1, 3, 402), (1, 3, 403), (1, 3, 4)])
def test_time_is_equal_to_demucs_in_tiles_of_any_size(
    shape: tuple[int, ...], values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_VALUES", values)
    plain, x = layer(freq=False), torch.randn(shape)
    with torch.no_grad():
        assert_equal_to_rounding(TiledEncoder(plain, torch.float32)(x), plain(x))


@pytest.mark.parametrize("freq", [True, False])
def test_in_16_bits_it_is_close(freq: bool) -> None:
    plain, x = layer(freq=freq), torch.randn(1, 3, 64, 9) if freq else torch.randn(1, 3, 64)
    with torch.no_grad():
        result = TiledEncoder(plain.bfloat16(), torch.bfloat16)(x)
        expected = layer(freq=freq)(x)
    assert result.dtype is torch.bfloat16
    assert 0 < float((result - expected).norm() / expected.norm()) < 0.03


@pytest.mark.parametrize(
    "changes",
    [{"norm": True}, {"empty": True}, {"rewrite": False}, {"context": 1}],
)
def test_layers_of_another_kind_are_left_alone(changes: dict[str, Any]) -> None:
    assert not can_be_tiled(layer(**changes))
    assert can_be_tiled(layer())
