"""Attention of a GPU in 16 bits where all else is TF32, which has a mantissa of as many bits.

torch has a kernel for it that keeps the scores in a processor's own memory (T. Dao, "FlashAttention-2",
2023), but for 16 bits only; scores and sums are float32 there. Oracle: `torch.nn.MultiheadAttention`.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def shorten_heads(network: nn.Module) -> None:
    """Has all attention computed by `attend`. Layers stay what they are, also for a CPU."""
    for layer in network.modules():
        given: Any = layer
        if type(layer) is nn.MultiheadAttention and layer.batch_first and given.in_proj_weight is not None:
            given.forward = partial(attend, layer)


def attend(
    attention: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **how: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What `MultiheadAttention` gives of `(batch, time, channels)` where no weights are asked for."""
    if how.get("need_weights", True) or any(how.get(mask) is not None for mask in _MASKS):
        result: tuple[torch.Tensor, torch.Tensor | None] = type(attention).forward(
            attention, query, key, value, **how
        )
        return result
    weights = attention.in_proj_weight.chunk(3)
    biases = [None] * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
    q, k, v = (
        functional.linear(x, weight, bias).half().view(*x.shape[:2], attention.num_heads, -1).transpose(1, 2)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return attention.out_proj(attended.float()), None


_MASKS = ("attn_mask", "key_padding_mask")
