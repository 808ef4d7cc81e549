"""Untrained networks of demucs' own classes, as small as they get, and one as large as the published."""

import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.apply import BagOfModels
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

SOURCES = ["drums", "bass", "other", "vocals"]
HTDEMUCS: dict[str, Any] = {
    "sources": SOURCES,
    "channels": 4,
    "dconv_comp": 2,
    "nfft": 512,
    "depth": 2,
    "bottom_channels": 8,
    "t_layers": 1,
    "t_heads": 2,
    "samplerate": 44_100,
    "segment": Fraction(1, 4),
}

FULL_SIZE: dict[str, Any] = {
    "sources": SOURCES,
    "bottom_channels": 512,
    "dconv_mode": 3,
    "samplerate": 44_100,
    "segment": Fraction(39, 5),
}
"""Where the published htdemucs differs from its class's defaults."""


def _seed() -> None:
    torch.manual_seed(7)
    random.seed(7)


def _audible(model: torch.nn.Module) -> None:
    """Layer scales, which begin next to zero, as large as training makes them: else errors would hide."""
    for name, parameter in model.named_parameters():
        if name.endswith(".scale"):
            parameter.data.uniform_(0.1, 0.3)


def tiny_htdemucs(**changes: Any) -> HTDemucs:
    """A hybrid transformer of two layers; its segment is 0.25 s."""
    _seed()
    model: HTDemucs = HTDemucs(**{**HTDEMUCS, **changes})
    _audible(model)
    return model


def tiny_hdemucs() -> HDemucs:
    """A hybrid without a transformer; segments of 0.3 s, heard without padding."""
    _seed()
    model: HDemucs = HDemucs(
        SOURCES, channels=4, dconv_comp=2, nfft=4096, depth=6, samplerate=44_100, segment=0.3
    )
    _audible(model)
    return model


def tiny_demucs() -> Demucs:
    """A time-domain network, which hears real audio to both sides of each segment of 0.2 s."""
    _seed()
    model: Demucs = Demucs(
        SOURCES, channels=4, dconv_comp=2, depth=3, lstm_layers=1, samplerate=44_100, segment=0.2
    )
    _audible(model)
    return model


def tiny_bag() -> BagOfModels:
    """Two networks with segments of different lengths and unequal weights."""
    return BagOfModels(
        [tiny_htdemucs(), tiny_demucs()], weights=[[1.0, 0.25, 0.0, 3.0], [0.3, 1.0, 1.0, 0.1]]
    )


def encoded(value: Any) -> Any:
    """Constructor arguments as demucs' safetensors files hold them."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    return value


def save_tiny(path: Path, **changes: Any) -> Path:
    """Writes `tiny_htdemucs` in the format of demucs' files on the Hugging Face hub."""
    return _save(path, tiny_htdemucs(**changes), {**HTDEMUCS, **changes})


def save_cheapest(path: Path) -> Path:
    """Writes a time-domain network of two convolutions each way, for long songs; its segment is 5.5 s."""
    _seed()
    arguments = {
        "sources": SOURCES,
        "channels": 2,
        "depth": 2,
        "rewrite": False,
        "dconv_mode": 0,
        "lstm_layers": 0,
        "resample": False,
        "segment": 5.5,
    }
    return _save(path, Demucs(**arguments), arguments)


def full_size() -> HTDemucs:
    """A network of htdemucs' architecture and size; its segment is 7.8 s, which take seconds."""
    _seed()
    model: HTDemucs = HTDemucs(**FULL_SIZE)
    _audible(model)
    return model


def save_full_size(path: Path) -> Path:
    """Writes `full_size`, 168 MB, for benchmarks."""
    return _save(path, full_size(), FULL_SIZE)


def _save(path: Path, model: torch.nn.Module, arguments: dict[str, Any]) -> Path:
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        path,
        metadata={
            "klass": f"{type(model).__module__}.{type(model).__qualname__}",
            "args": "[]",
            "kwargs": json.dumps({name: encoded(value) for name, value in arguments.items()}),
        },
    )
    return path
