"""Layers of demucs' classes with weights as large as training makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def shaken(layer: nn.Module) -> Any:
    """The layer ready to be heard, its weights, norms and scales changed at random."""
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return layer.eval()


def assert_equal_to_rounding(result: Any, expected: Any) -> None:
    """Within what float32 loses in a few hundred sums."""
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=2e-5)


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """Inside, torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
