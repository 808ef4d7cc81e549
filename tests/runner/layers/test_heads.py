"""Attention for a GPU against torch's own."""

from typing import Any

import pytest
import torch
from torch import nn

from runner.layers.heads import shorten_heads


def attention(**changes: Any) -> nn.MultiheadAttention:
    torch.manual_seed(3)
    layer = nn.MultiheadAttention(16, 4, **{"batch_first": True, **changes}).eval()
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("times", [(11, 11), (11, 7)])
def test_it_is_close_to_torchs(times: tuple[int, int], bias: bool) -> None:
    layer, query, other = attention(bias=bias), torch.randn(2, times[0], 16), torch.randn(2, times[1], 16)
    with torch.no_grad():
        expected, _ = layer(query, other, other, need_weights=False)
        shorten_heads(layer)
        result, weights = layer(query, other, other, need_weights=False)
    assert weights is None
    assert result.dtype is torch.float32
    error = float((result - expected).norm() / expected.norm())
    assert 0 < error < 1e-3, "16 bits have 11 of mantissa, the hidden one included"


@pytest.mark.parametrize(
    "how", [{}, {"need_weights": True}, {"attn_mask": torch.eye(5).bool(), "need_weights": False}]
)
def test_with_masks_or_weights_it_is_torchs(how: dict[str, Any]) -> None:
    layer, x = attention(), torch.randn(2, 5, 16)
    with torch.no_grad():
        expected = layer(x, x, x, **how)
        shorten_heads(layer)
        result = layer(x, x, x, **how)
    for one, other in zip(result, expected, strict=True):
        assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("changes", [{"batch_first": False}, {"kdim": 8, "vdim": 8}])
def test_attention_of_another_kind_is_left_alone(changes: dict[str, Any]) -> None:
    layer = attention(**changes)
    shorten_heads(layer)
    assert "forward" not in vars(layer)
