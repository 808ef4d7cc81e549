"""Group norms for a GPU against torch's and demucs' own."""

from typing import Any

import pytest
import torch
from demucs.transformer import MyGroupNorm
from torch import nn

from runner.layers.norm import spread_norms
from tests.runner.layers.layers_of import assert_equal_to_rounding, shaken

OF_DEMUCS: Any = MyGroupNorm


@pytest.mark.parametrize("shape", [(2, 6, 50), (1, 6, 1), (3, 6, 4, 7)])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_it_is_equal_to_torchs(shape: tuple[int, ...], offset: float) -> None:
    norm: Any = shaken(nn.GroupNorm(1, 6))
    x = torch.randn(shape) + offset
    expected = norm(x)
    spread_norms(norm)
    assert_equal_to_rounding(norm(x), expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_equal_to_demucs(batch: int) -> None:
    norm: Any = shaken(OF_DEMUCS(1, 6))
    x = torch.randn(batch, 50, 6)
    expected = norm(x)
    spread_norms(norm)
    assert_equal_to_rounding(norm(x), expected)


def test_weights_that_move_later_are_followed() -> None:
    norm: Any = nn.GroupNorm(1, 6)
    spread_norms(norm)
    norm.weight.data = torch.full([6], 2.0)
    norm.bias = nn.Parameter(torch.ones(6))
    x = torch.randn(2, 6, 50)
    assert_equal_to_rounding(norm(x), 2 * nn.functional.group_norm(x, 1) + 1)


def test_sixteen_bits_become_float32() -> None:
    norm: Any = shaken(nn.GroupNorm(1, 6))
    x = torch.randn(2, 6, 50).half()
    expected = norm(x.float())
    spread_norms(norm)
    assert_equal_to_rounding(norm(x), expected)


def test_norms_of_more_groups_are_left_alone() -> None:
    norm = nn.GroupNorm(2, 6)
    spread_norms(norm)
    assert "forward" not in vars(norm)


def test_layers_keep_their_kind() -> None:
    """What asks for it later is to find what it expects."""
    layers = nn.Sequential(nn.GroupNorm(1, 6), OF_DEMUCS(1, 6))
    spread_norms(layers)
    assert [type(layer) for layer in layers] == [nn.GroupNorm, MyGroupNorm]
