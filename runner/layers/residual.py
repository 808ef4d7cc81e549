"""Demucs' residual branches, read and written once: the kernel of `runner/kernels/residual.c`.

A layer of `demucs.demucs.DConv` widens `hidden` channels to `2 channels`, normalises these over channels and
time, and gates one half by the other. The norm reads that wide tensor, 16 times the hidden one in htdemucs,
twice and writes it once more. But the 1x1 convolution is linear: o = W h + b. So what the norm needs (Y. Wu,
K. He, "Group Normalization", 2018, eq. 1 and 2) follows from the mean m and the covariance C of h over time:

    mean of o_c = W_c m + b_c        variance of o_c = W_c C W_cᵀ

and the norm becomes other weights, for each example its own. The layer's scale goes into the half that is not
the gate. What is wide then never leaves the processor's registers. Sums are float32, also of bfloat16.

Oracle: `demucs.demucs.DConv`; sums are taken in another order, so the result is equal to rounding.
"""

import ctypes
from functools import partial
from typing import Any

import torch
from demucs.demucs import DConv
from demucs.transformer import LayerScale
from torch import nn
from torch.nn import functional

from runner.kernels import LENGTH, POINTER, kernel
from runner.layers.threads import on_threads

_GROUP = 6
"""Outputs of a product that the kernel computes together: of the wide ones three channels and their gates."""
_LANES = 16
"""Numbers in the largest register: of the wide ones there are so many, or a multiple."""
_PHASES = 4


class _Branch(ctypes.Structure):
    """The kernel's `branch`."""

    _fields_ = (
        *((name, LENGTH) for name in ("channels", "hidden", "kernel", "dilation", "narrow", "wide")),
        *((name, ctypes.c_float) for name in ("narrow_epsilon", "wide_epsilon")),
        *((name, POINTER) for name in ("taps", "narrow_bias", "narrow_gain", "narrow_shift", "weight")),
        *((name, POINTER) for name in ("wide_bias", "wide_gain", "wide_shift", "scale", "share")),
    )


class _Rows(ctypes.Structure):
    """The kernel's `rows`."""

    _fields_ = (
        *((name, POINTER) for name in ("given", "result")),
        *((name, LENGTH) for name in ("from_row", "from_channel", "to_row", "to_channel")),
        *((name, LENGTH) for name in ("count", "time", "shortened")),
    )


_room = kernel("residual_room", POINTER, *3 * (LENGTH,), result=LENGTH)
_residual = kernel("residual", *3 * (POINTER,), *4 * (LENGTH,))


class FoldedBranch(nn.Module):
    """One layer of a `DConv` and the sum around it: takes and gives `(batch, channels, time)`.

    In float32 or bfloat16. It belongs to the CPU: its weights are no parameters, and move nowhere.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        parts: list[Any] = list(layer.children())
        narrow, norm, _, widen, wide_norm, _, scale = parts
        self._channels = narrow.in_channels
        ones = torch.ones(self._channels)
        self._weights = {
            "taps": _narrow(narrow.weight.permute(2, 1, 0)),
            "narrow_bias": _narrow(narrow.bias),
            "narrow_gain": _narrow(norm.weight),
            "narrow_shift": _narrow(norm.bias),
            "weight": _wide(widen.weight[..., 0].t()),
            "wide_bias": _wide(widen.bias),
            "wide_gain": _wide(wide_norm.weight),
            "wide_shift": _wide(wide_norm.bias),
            "scale": _wide(torch.cat([scale.scale, ones])),
            # What each has of the mean of all: nothing where it is there to fill a group.
            "share": _wide(torch.cat([ones, ones]) / (2 * self._channels)),
        }
        self._branch = _Branch(
            channels=self._channels,
            hidden=narrow.out_channels,
            kernel=narrow.kernel_size[0],
            dilation=narrow.dilation[0],
            narrow=self._weights["narrow_bias"].numel(),
            wide=self._weights["wide_bias"].numel(),
            narrow_epsilon=norm.eps,
            wide_epsilon=wide_norm.eps,
            **{name: weight.data_ptr() for name, weight in self._weights.items()},
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype in (torch.float32, torch.bfloat16)
        assert x.shape[1] == self._channels
        if x.stride(2) != 1:
            x = x.contiguous()
        result = x.new_empty(x.shape)
        threads = torch.get_num_threads()
        if len(x) < threads:
            self._compute(x, result, threads)
        else:
            shares = zip(torch.tensor_split(x, threads), torch.tensor_split(result, threads), strict=True)
            on_threads(self._compute, shares)
        return result

    def _compute(self, x: torch.Tensor, result: torch.Tensor, parts: int = 1) -> None:
        """On one thread, or each part of the time on its own."""
        count, _, time = x.shape
        places = x.data_ptr(), result.data_ptr(), *x.stride()[:2], *result.stride()[:2]
        rows = _Rows(*places, count, time, x.dtype == torch.bfloat16)
        branch, given = ctypes.byref(self._branch), ctypes.byref(rows)
        room = torch.empty(_room(branch, count, time, parts))
        if parts == 1:
            _residual(branch, given, room.data_ptr(), 0, _PHASES, 0, 1)
            return
        for phase in range(_PHASES):
            arguments = branch, given, room.data_ptr(), phase, phase + 1
            on_threads(partial(_residual, *arguments), [(part, parts) for part in range(parts)])


def _narrow(weight: torch.Tensor) -> torch.Tensor:
    """Hidden channels, the last axis, in whole groups."""
    return functional.pad(weight.detach().float(), (0, -weight.shape[-1] % _GROUP)).contiguous()


def _wide(weight: torch.Tensor) -> torch.Tensor:
    """Channels and gates, the last axis, in whole groups and vectors: three channels, then their gates."""
    halves = torch.stack(weight.detach().float().chunk(2, -1), -2)
    padded = functional.pad(halves, (0, -halves.shape[-1] % (_GROUP // 2 * _LANES // 2)))
    groups = torch.stack(torch.split(padded, _GROUP // 2, -1), -3)
    return groups.flatten(-3).contiguous()


class FoldedResiduals(nn.Module):
    """Stands in for a `DConv` whose layers are all of the plain kind, with its weights."""

    def __init__(self, dconv: DConv) -> None:
        super().__init__()
        self._layers = nn.Sequential(*map(FoldedBranch, dconv.layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._layers(x)
        return result


_PLAIN = [nn.Conv1d, nn.GroupNorm, nn.GELU, nn.Conv1d, nn.GroupNorm, nn.GLU, LayerScale]


def can_be_folded(dconv: nn.Module) -> bool:
    """Whether `FoldedResiduals` can stand for it: not for attention, an LSTM, other activations, no norm."""
    return type(dconv) is DConv and all(map(_is_plain, dconv.layers))


def _is_plain(layer: nn.Module) -> bool:
    return [type(part) for part in layer.children()] == _PLAIN
