"""Demucs' residual branches with their second group norm folded into the convolution before it.

A layer of `demucs.demucs.DConv` widens `hidden` channels to `2 channels`, normalises these over channels and
time, and gates one half by the other. The norm reads that wide tensor, 16 times the hidden one in htdemucs,
twice and writes it once more. But the 1x1 convolution is linear: o = W h + b. So what the norm needs (Y. Wu,
K. He, "Group Normalization", 2018, eq. 1 and 2) follows from the mean m and the covariance C of h over time:

    mean of o_c = W_c m + b_c        variance of o_c = W_c C W_cᵀ

and the norm becomes other weights, for each example its own. The layer's scale goes into the half that is not
the gate. Oracle: `demucs.demucs.DConv`; sums are taken in another order, so the result is equal to rounding.
"""

from typing import Any

import torch
from demucs.demucs import DConv
from demucs.transformer import LayerScale
from torch import nn
from torch.nn import functional

from runner.layers.tiles import in_tiles


class FoldedBranch(nn.Module):
    """One layer of a `DConv` and the sum around it: takes and gives `(batch, channels, time)`.

    It belongs to the CPU: its weights are no parameters, and move nowhere.
    """

    def __init__(self, layer: nn.Module, numbers: torch.dtype) -> None:
        super().__init__()
        self._numbers = numbers
        parts: list[Any] = list(layer.children())
        narrow, self._norm, _, widen, self._wide_norm, _, scale = parts
        self._kernel, self._dilation = int(narrow.kernel_size[0]), int(narrow.dilation[0])
        # A row of the product for each tap and hidden channel.
        self._taps: torch.Tensor = (
            narrow.weight.detach().permute(2, 0, 1).flatten(0, 1).to(numbers).contiguous()
        )
        self._narrow_bias: torch.Tensor = narrow.bias.detach()[:, None]
        self._weight: torch.Tensor = widen.weight.detach()[..., 0]
        self._bias: torch.Tensor = widen.bias.detach()
        self._scale = torch.cat([scale.scale.detach(), torch.ones_like(scale.scale)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.gelu(self._norm(self._narrowed(x)))
        weight, bias = (each.to(self._numbers) for each in self._folded(hidden))
        hidden = hidden.to(self._numbers)

        def part(first: int, last: int) -> torch.Tensor:
            wide = torch.baddbmm(bias, weight, hidden[..., first:last])
            return functional.glu(wide, 1).add_(x[..., first:last])

        return in_tiles(torch.empty_like(x), part)

    def _narrowed(self, x: torch.Tensor) -> torch.Tensor:
        """The dilated convolution, as one product and a sum of shifted parts."""
        batch, _, time = x.shape
        parts = torch.matmul(self._taps, x).float().view(batch, self._kernel, -1, time)
        middle = self._kernel // 2
        result = parts[:, middle] + self._narrow_bias
        for tap in range(self._kernel):
            shift = (tap - middle) * self._dilation
            if 0 < shift < time:
                result[..., :-shift] += parts[:, tap, :, shift:]
            elif -time < shift < 0:
                result[..., -shift:] += parts[:, tap, :, :shift]
        return result

    def _folded(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights `(batch, wide, hidden)` and biases `(batch, wide, 1)` of convolution, norm and scale."""
        mean = hidden.mean(-1)
        centred = hidden - mean[..., None]
        covariance = torch.bmm(centred, centred.transpose(1, 2)) / hidden.shape[-1]
        means = functional.linear(mean, self._weight, self._bias)
        overall = means.mean(1, keepdim=True)
        variances = (torch.matmul(self._weight, covariance) * self._weight).sum(-1)
        variance = (variances + (means - overall).square()).mean(1, keepdim=True)
        norm = self._wide_norm
        factor = torch.rsqrt(variance + norm.eps) * norm.weight
        shift = (self._bias - overall) * factor + norm.bias
        return (factor * self._scale)[..., None] * self._weight, (shift * self._scale)[..., None]


class FoldedResiduals(nn.Module):
    """Stands in for a `DConv` whose layers are all of the plain kind, with its weights."""

    def __init__(self, dconv: DConv, numbers: torch.dtype) -> None:
        super().__init__()
        self._layers = nn.Sequential(*(FoldedBranch(layer, numbers) for layer in dconv.layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._layers(x)
        return result


_PLAIN = [nn.Conv1d, nn.GroupNorm, nn.GELU, nn.Conv1d, nn.GroupNorm, nn.GLU, LayerScale]


def can_be_folded(dconv: nn.Module) -> bool:
    """Whether `FoldedResiduals` can stand for it: not for attention, an LSTM, other activations, no norm."""
    return type(dconv) is DConv and all(map(_is_plain, dconv.layers))


def _is_plain(layer: nn.Module) -> bool:
    return [type(part) for part in layer.children()] == _PLAIN
