"""Networks are built without random numbers, and take the weights that are loaded as they are.

Demucs' own loaders fill each layer with random numbers, and then copy the weights over them. Inside
`uninitialised` neither is done: a file of float32 safetensors stays mapped into memory, and its pages are the
parameters.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import demucs.demucs
import demucs.hdemucs
import demucs.htdemucs
import demucs.states
import torch

_INITIALISERS = ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "uniform_", "normal_")


@contextmanager
def uninitialised() -> Iterator[None]:
    """Inside, new layers hold whatever was in memory: all of their weights must be loaded before any use.

    Half a second of htdemucs' start. (torch's own way, its device "meta", loads three seconds of modules.)
    """
    replaced: list[tuple[Any, str, Any]] = [
        *((torch.nn.init, name, _as_it_is) for name in _INITIALISERS),
        (torch.nn.modules.activation, "xavier_uniform_", _as_it_is),  # attention has a name of its own for it
        *((module, "rescale_module", _as_it_is) for module in _ARCHITECTURES),
        (demucs.states, "set_state", _adopt),
    ]
    originals = [getattr(module, name) for module, name, _ in replaced]
    try:
        for module, name, replacement in replaced:
            setattr(module, name, replacement)
        yield
    finally:
        for (module, name, _), original in zip(replaced, originals, strict=True):
            setattr(module, name, original)


_ARCHITECTURES = (demucs.demucs, demucs.hdemucs, demucs.htdemucs)
_set_state = demucs.states.set_state


def _as_it_is(subject: Any, *_: Any, **__: Any) -> Any:
    return subject


def _adopt(model: torch.nn.Module, state: dict[str, Any], quantizer: Any = None) -> Any:
    """`demucs.states.set_state` without a copy of what has the right type already."""
    renames = type(model).load_state_dict is not torch.nn.Module.load_state_dict  # demucs.demucs.Demucs
    if renames or state.get("__quantized"):
        return _set_state(model, state, quantizer)  # type: ignore[no-untyped-call]
    types = {name: parameter.dtype for name, parameter in model.state_dict().items()}
    weights = {name: tensor.to(types.get(name)).contiguous() for name, tensor in state.items()}
    model.load_state_dict(weights, assign=True)
    return state
