"""Attention in 16 bits on a CPU: torch's own kernel for it is no faster there than in 32 bits.

softmax(Q Kᵀ / √d) V for all heads at once (A. Vaswani et al., "Attention Is All You Need", 2017, eq. 1), in
blocks of queries, so that no more than a block's scores are in memory. Oracle: `torch.nn.MultiheadAttention`.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_QUERIES = 672
"""Queries of a block. With a quarter of it attention took 1.4 times as long; htdemucs has 2,688 and 1,344."""


class BlockedAttention(nn.Module):
    """Stands in for a `nn.MultiheadAttention` that puts the batch first, with its weights; no masks.

    Takes queries `(batch, t, channels)`, keys and values `(batch, s, channels)`, and gives
    `((batch, t, channels), None)`, in the numbers that autocast chooses.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self._attention = attention

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: None = None,
        key_padding_mask: None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        assert attn_mask is None
        assert key_padding_mask is None
        attention = self._attention
        projections = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
        q, k, v = (
            functional.linear(x, weight, bias)
            .view(*x.shape[:2], attention.num_heads, attention.head_dim)
            .transpose(1, 2)
            for x, (weight, bias) in zip((query, key, value), projections, strict=True)
        )
        with torch.autocast("cpu", enabled=False):
            heads = _attend(q, k, v)
        return attention.out_proj(heads.transpose(1, 2).flatten(2)), None


def attend_in_blocks(network: nn.Module) -> None:
    """Puts `BlockedAttention` in the place of every attention of a network; what has it already stays."""
    for parent in [module for module in network.modules() if not isinstance(module, BlockedAttention)]:
        for name, child in list(parent.named_children()):
            if type(child) is nn.MultiheadAttention and child.batch_first:
                setattr(parent, name, BlockedAttention(child))


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Of each head: `(batch, heads, t, d)` by `(batch, heads, s, d)`."""
    keys = (k / math.sqrt(k.shape[-1])).transpose(-1, -2)
    result = torch.empty_like(q)
    for first in range(0, q.shape[2], _QUERIES):
        scores = torch.matmul(q[:, :, first : first + _QUERIES], keys)
        result[:, :, first : first + _QUERIES] = torch.matmul(torch.softmax(scores, -1), v)
    return result
