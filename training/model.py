"""The small separation model: its shape and its checkpoints."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from torch import Tensor

from training.composition import STEMS

ARGUMENTS: dict[str, Any] = {
    "sources": list(STEMS),
    "audio_channels": 2,
    "samplerate": 44100,
    "segment": Fraction(3),
    "channels": 16,
    "dconv_comp": 4,
    "dconv_depth": 2,
    # The default 1e-3 lets the residual branches come in over hundreds of epochs; here training is short.
    "dconv_init": 0.1,
    "t_layers": 2,
    "t_heads": 4,
    "t_hidden_scale": 2.0,
}
"""Keyword arguments of `demucs.htdemucs.HTDemucs` (about 1/25 of the parameters of htdemucs)."""


def build_model() -> HTDemucs:
    """A model with random weights (drawn from torch's global generator)."""
    model: HTDemucs = HTDemucs(**ARGUMENTS)
    return model


@dataclass
class Checkpoint:
    """State of a training run."""

    model: dict[str, Tensor]
    average: dict[str, Tensor]
    """Exponential moving average of the weights: what is evaluated and exported."""
    optimizer: dict[str, Any]
    seed: int
    step: int
    seconds: float
    """Time trained so far."""

    def save(self, path: Path) -> None:
        """Writes the checkpoint so that an interruption never leaves half a file."""
        partial = path.with_suffix(".partial")
        torch.save(vars(self), partial)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Reads a checkpoint written by `save`.

        Raises:
            FileNotFoundError: there is none.
        """
        return cls(**torch.load(path, map_location="cpu", weights_only=True))
