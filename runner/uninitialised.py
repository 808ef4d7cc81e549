"""Networks are built without the random numbers that their weights would overwrite at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import demucs.demucs
import demucs.hdemucs
import demucs.htdemucs
import torch

_INITIALISERS = ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "uniform_", "normal_")


@contextmanager
def uninitialised() -> Iterator[None]:
    """Inside, new layers hold whatever was in memory: all of their weights must be loaded before any use.

    Half a second of htdemucs' start. (torch's own way, its device "meta", loads three seconds of modules.)
    """
    replaced = [(torch.nn.init, name) for name in _INITIALISERS]
    replaced += [(module, "rescale_module") for module in (demucs.demucs, demucs.hdemucs, demucs.htdemucs)]
    originals = [getattr(module, name) for module, name in replaced]
    try:
        for module, name in replaced:
            setattr(module, name, _as_it_is)
        yield
    finally:
        for (module, name), original in zip(replaced, originals, strict=True):
            setattr(module, name, original)


def _as_it_is(layer: Any, *_: Any, **__: Any) -> Any:
    return layer
