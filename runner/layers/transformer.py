"""Demucs' transformer layers with fewer passes over memory.

Of `MyTransformerEncoderLayer` and `CrossTransformerEncoderLayer` of `demucs.transformer`, where norms come
first (R. Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020): layer scales are part
of the weights before them, queries, keys and values are views of one product, and the feed-forward network
takes some steps of time after the other. Oracles: the classes themselves; equal to rounding. In 16 bits the
sums between the blocks stay float32.
"""

from typing import Any

import torch
from demucs.transformer import (
    CrossTransformerEncoderLayer,
    LayerScale,
    MyGroupNorm,
    MyTransformerEncoderLayer,
)
from torch import nn
from torch.nn import functional

from runner.layers.attention import Attend

_STEPS = 672
"""Of time that the feed-forward network takes at once."""


class LeanTransformerLayer(nn.Module):
    """Stands in for either class, with its weights in `numbers`: `(batch, t, channels)` in and out.

    `x` is not changed; `other`, `(batch, s, channels)`, is what a cross layer attends to.
    """

    def __init__(self, layer: Any, numbers: torch.dtype, attend: Attend) -> None:
        super().__init__()
        cross = type(layer) is CrossTransformerEncoderLayer
        attention = layer.cross_attn if cross else layer.self_attn
        self._numbers, self._attend, self._heads = numbers, attend, attention.num_heads
        self.norm_in = layer.norm1
        self.norm_other = layer.norm2 if cross else None
        self.norm_middle = layer.norm3 if cross else layer.norm2
        self.norm_out = layer.norm_out
        self._projections = self._kept(attention.in_proj_weight, attention.in_proj_bias)
        self._joined = self._kept(*_scaled(attention.out_proj, layer.gamma_1))
        self._widen = self._kept(layer.linear1.weight, layer.linear1.bias)
        self._narrow = self._kept(*_scaled(layer.linear2, layer.gamma_2))

    def _kept(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return weight.detach().to(self._numbers), bias.detach().to(self._numbers)

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        heads = self._attend(*map(self._split, self._attended(x, other)))
        result = functional.linear(heads.transpose(1, 2).flatten(2), *self._joined) + x
        for part in torch.split(result, _STEPS, 1):
            hidden = functional.gelu(functional.linear(self._normed(self.norm_middle, part), *self._widen))
            part += functional.linear(hidden, *self._narrow)
        norm = self.norm_out
        level = functional.layer_norm(result.flatten(1), [result[0].numel()], eps=norm.eps).view_as(result)
        return torch.addcmul(norm.bias, level, norm.weight)

    def _attended(self, x: torch.Tensor, other: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values."""
        weight, bias = self._projections
        y = self._normed(self.norm_in, x)
        if other is None:
            return functional.linear(y, weight, bias).chunk(3, -1)
        assert self.norm_other is not None
        channels = x.shape[-1]
        query = functional.linear(y, weight[:channels], bias[:channels])
        key_value = functional.linear(
            self._normed(self.norm_other, other), weight[channels:], bias[channels:]
        )
        return query, *key_value.chunk(2, -1)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], self._heads, -1).transpose(1, 2)

    def _normed(self, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = norm(x)
        return result.to(self._numbers)


def can_be_lean(layer: nn.Module) -> bool:
    """Whether `LeanTransformerLayer` can stand for it: htdemucs' and those of models trained like it."""
    if type(layer) not in (MyTransformerEncoderLayer, CrossTransformerEncoderLayer):
        return False
    given: Any = layer
    norms = [given.norm1, given.norm2, *([given.norm3] if hasattr(given, "norm3") else [])]
    return bool(
        given.norm_first
        and not given.sparse
        and given.activation is functional.gelu
        and all(type(norm) is nn.LayerNorm for norm in norms)
        and type(given.norm_out) is MyGroupNorm
        and given.norm_out.num_groups == 1
    )


def _scaled(linear: nn.Linear, scale: "LayerScale | nn.Identity") -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias with the layer scale after them, if there is one."""
    factor = getattr(scale, "scale", None)
    if factor is None:
        return linear.weight, linear.bias
    return linear.weight * factor[:, None], linear.bias * factor
