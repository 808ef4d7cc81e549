"""The kernel for attention in bfloat16 is torch's attention, as exact as torch's own in bfloat16 is."""

import math

import pytest
import torch
from torch.nn import functional

from runner.kernels import has
from runner.layers.attention import attend
from tests.runner.layers.layers_of import threads_of_torch

pytestmark = pytest.mark.skipif(not has("attend"), reason="this CPU has no AVX-512 products of bfloat16")


def decibels(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Signal to error."""
    error = (found.double() - expected).square().sum()
    return 10 * math.log10(expected.square().sum() / error)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (12, 32), (13, 33), (100, 47), (672, 700)])
@pytest.mark.parametrize("dimensions", [2, 48, 64])
def test_attention_in_bfloat16_is_that_of_torch(
    queries: int, keys: int, dimensions: int, threads: int
) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, queries, 3 * dimensions).bfloat16().view(2, queries, 3, dimensions).transpose(1, 2)
    k, v = torch.randn(2, 2, keys, 3 * dimensions).bfloat16().view(2, 2, keys, 3, dimensions).transpose(2, 3)
    expected = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    with threads_of_torch(threads):
        found = attend(q, k, v)
    torchs = functional.scaled_dot_product_attention(q, k, v)
    assert (found.dtype, found.shape) == (torch.bfloat16, q.shape)
    assert decibels(found, expected) > min(50, decibels(torchs, expected) - 1)


@pytest.mark.parametrize("scale", [30, 1e4])
def test_scores_of_any_size_are_weighed(scale: float) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 1, 64, 64).bfloat16() for _ in range(3))
    q *= scale
    expected = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    assert decibels(attend(q, k, v), expected) > 40


def test_heads_that_the_kernel_has_no_room_for_are_torchs() -> None:
    q, k, v = (torch.randn(1, 2, 5, 80).bfloat16() for _ in range(3))
    assert torch.equal(attend(q, k, v), functional.scaled_dot_product_attention(q, k, v))
