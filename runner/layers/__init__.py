"""Stand-ins for the layers of demucs' networks that compute the same in less time.

Most of what they save on a CPU is memory's time: each small operation of htdemucs' outer layers reads and
writes tens of megabytes, and a core's cache holds two. On a GPU it is time of processors that had no work.
"""

from collections.abc import Callable
from typing import Any

import torch
from demucs.hdemucs import MultiWrap, ScaledEmbedding
from torch import nn

from runner.layers import decoder, encoder
from runner.layers.attention import Attend
from runner.layers.decoder import TiledDecoder
from runner.layers.encoder import TiledEncoder
from runner.layers.heads import shorten_heads
from runner.layers.hybrid import run_lean
from runner.layers.norm import spread_norms
from runner.layers.residual import FoldedResiduals, can_be_folded
from runner.layers.transformer import LeanTransformerLayer, can_be_lean


def fit_gpu(network: nn.Module) -> None:
    """Changes how a network computes on a GPU; it still can compute on a CPU."""
    spread_norms(network)
    shorten_heads(network)
    run_lean(network)


def replace_layers(network: nn.Module, numbers: torch.dtype, attend: Attend) -> None:
    """Puts stand-ins for a CPU in the place of all layers of a network that they can stand for.

    Args:
        network: a Demucs, HDemucs or HTDemucs.
        numbers: in which they compute, float32 or bfloat16.
        attend: how heads attend.
    """
    _replace(network, lambda layer: _inner(layer, numbers, attend))
    run_lean(network)
    # Where branches merge (HDemucs) or bands have layers of their own, others look into the layers there.
    if not any(isinstance(layer, MultiWrap) or getattr(layer, "empty", False) for layer in network.modules()):
        _replace(network, lambda layer: _outer(layer, numbers))


def _replace(network: nn.Module, stand_in: Callable[[nn.Module], nn.Module | None]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if (replacement := stand_in(child)) is not None:
                setattr(parent, name, replacement)


def _inner(layer: Any, numbers: torch.dtype, attend: Attend) -> nn.Module | None:
    if can_be_folded(layer):
        return FoldedResiduals(layer)
    if can_be_lean(layer):
        return LeanTransformerLayer(layer, numbers, attend)
    # What it gives is added to a whole layer, which is to keep its numbers.
    if isinstance(layer, ScaledEmbedding):
        layer.to(numbers)
    return None


def _outer(layer: Any, numbers: torch.dtype) -> nn.Module | None:
    if encoder.can_be_tiled(layer):
        return TiledEncoder(layer, numbers)
    return TiledDecoder(layer, numbers) if decoder.can_be_tiled(layer) else None
