"""Demucs' transformer layers with fewer passes over memory.

Of `MyTransformerEncoderLayer` and `CrossTransformerEncoderLayer` of `demucs.transformer`, where norms come
first (R. Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020): layer scales are part
of the weights before them, queries, keys and values are views of one product or two, and the feed-forward
network takes some steps of time after the other. Oracles: the classes themselves; equal to rounding. In 16
bits the sums between the blocks stay float32.
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
from runner.layers.linear import Linear, linear

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
        self.norms_in = nn.ModuleList([layer.norm1, layer.norm2] if cross else [layer.norm1])
        self.norm_middle = layer.norm3 if cross else layer.norm2
        self.norm_out = layer.norm_out
        # Of `x`, and of `other` or else `x` again.
        channels = len(attention.in_proj_weight) // 3
        places = [slice(channels), slice(channels, None)] if cross else [slice(None)]
        self._projections = [
            self._linear(attention.in_proj_weight[place], attention.in_proj_bias[place]) for place in places
        ]
        self._joined = self._linear(*_scaled(attention.out_proj, layer.gamma_1))
        self._widen = self._linear(layer.linear1.weight, layer.linear1.bias, then_gelu=True)
        self._narrow = self._linear(*_scaled(layer.linear2, layer.gamma_2))

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor, *, then_gelu: bool = False) -> Linear:
        weight, bias = (each.detach().to(self._numbers) for each in (weight, bias))
        return linear(weight, bias, then_gelu=then_gelu)

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        heads = self._attend(*map(self._split, self._attended(x, other)))
        result = self._joined(heads.transpose(1, 2).flatten(2)).float().add_(x)
        for part in torch.split(result, _STEPS, 1):
            part += self._narrow(self._widen(self._normed(self.norm_middle, part)))
        norm = self.norm_out
        level = functional.layer_norm(result.flatten(1), [result[0].numel()], eps=norm.eps).view_as(result)
        return torch.addcmul(norm.bias, level, norm.weight)

    def _attended(self, x: torch.Tensor, other: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values."""
        given = zip(self._projections, self.norms_in, [x] if other is None else [x, other], strict=True)
        projected = [project(self._normed(norm, y)) for project, norm, y in given]
        return tuple(part for y in projected for part in torch.split(y, x.shape[-1], -1))

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
