"""Lean transformer layers against demucs' own."""

from typing import Any

import pytest
import torch
from demucs.transformer import CrossTransformerEncoderLayer, MyTransformerEncoderLayer
from torch.nn import functional

from runner.kernels import has
from runner.layers import transformer
from runner.layers.attention import Attend
from runner.layers.attention import attend as attend_in_kernel
from runner.layers.transformer import LeanTransformerLayer, can_be_lean
from tests.runner.layers.layers_of import assert_equal_to_rounding, shaken

torchs = functional.scaled_dot_product_attention
KINDS = [MyTransformerEncoderLayer, CrossTransformerEncoderLayer]


def layer(kind: Any, **changes: Any) -> Any:
    torch.manual_seed(5)
    arguments: dict[str, Any] = {
        "dim_feedforward": 48,
        "activation": functional.gelu,
        "norm_first": True,
        "norm_out": True,
        "layer_scale": True,
        "init_values": 0.3,
        "batch_first": True,
    }
    return shaken(kind(32, 4, **{**arguments, **changes}))


def inputs(kind: Any, batch: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(6)
    return [torch.randn(batch, 40, 32), torch.randn(batch, 21, 32)][: 1 + KINDS.index(kind)]


@pytest.mark.parametrize("steps", [1, 7, 40, 1000])
@pytest.mark.parametrize("changes", [{}, {"layer_scale": False}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_equal_to_demucs(
    kind: Any, changes: dict[str, Any], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "_STEPS", steps)
    plain, given = layer(kind, **changes), inputs(kind)
    before = [each.clone() for each in given]
    with torch.no_grad():
        assert_equal_to_rounding(LeanTransformerLayer(plain, torch.float32, torchs)(*given), plain(*given))
    assert all(map(torch.equal, given, before)), "the inputs are not changed: others need them"


@pytest.mark.parametrize("attend", [torchs, *([attend_in_kernel] if has("attend_bfloat16") else [])])
@pytest.mark.parametrize("kind", KINDS)
def test_in_16_bits_it_is_close_and_sums_stay_float32(kind: Any, attend: Attend) -> None:
    plain, given = layer(kind), inputs(kind)
    with torch.no_grad():
        expected = plain(*given)
        result = LeanTransformerLayer(plain, torch.bfloat16, attend)(*given)
    assert result.dtype is torch.float32
    assert 0 < float((result - expected).norm() / expected.norm()) < 0.02


@pytest.mark.parametrize(
    "changes", [{"norm_first": False}, {"norm_out": 0}, {"group_norm": 4}, {"activation": functional.relu}]
)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_another_kind_are_left_alone(kind: Any, changes: dict[str, Any]) -> None:
    assert not can_be_lean(layer(kind, **changes))
    assert can_be_lean(layer(kind))
