"""The kernels for attention are torch's attention, as exact as torch's own is in such numbers."""

import math

import pytest
import torch
from torch.nn import functional

from runner import processor
from runner.layers.attention import _KERNELS, _MULTIPLES, attend, fastest_attention
from tests.runner.layers.layers_of import threads_of_torch

torchs = functional.scaled_dot_product_attention
EXACT = {torch.float32: 110, torch.bfloat16: 50}
"""Decibels that are enough, if torch has more."""


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def numbers(request: pytest.FixtureRequest) -> torch.dtype:
    if request.param not in _KERNELS:
        pytest.skip("this CPU has no AVX-512, or no products of bfloat16 in it")
    found: torch.dtype = request.param
    return found


def decibels(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Signal to error."""
    error = (found.double() - expected).square().sum()
    return 10 * math.log10(expected.square().sum() / error)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("queries", "keys"), [(1, 1), (12, 32), (48, 192), (13, 33), (49, 193), (100, 47), (672, 700)]
)
@pytest.mark.parametrize("dimensions", [2, 16, 48, 64])
def test_attention_is_that_of_torch(
    queries: int, keys: int, dimensions: int, threads: int, numbers: torch.dtype
) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, queries, 3 * dimensions).to(numbers).view(2, queries, 3, dimensions).transpose(1, 2)
    both = torch.randn(2, 2, keys, 3 * dimensions).to(numbers).view(2, 2, keys, 3, dimensions)
    k, v = both.transpose(2, 3)
    expected = torchs(q.double(), k.double(), v.double())
    with threads_of_torch(threads):
        found = attend(q, k, v)
    assert (found.dtype, found.shape) == (numbers, q.shape)
    assert decibels(found, expected) > min(EXACT[numbers], decibels(torchs(q, k, v), expected) - 1)


@pytest.mark.parametrize("scale", [30, 1e4])
def test_scores_of_any_size_are_weighed(scale: float, numbers: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 1, 64, 64).to(numbers) for _ in range(3))
    q *= scale
    expected = torchs(q.double(), k.double(), v.double())
    assert decibels(attend(q, k, v), expected) > min(EXACT[numbers], decibels(torchs(q, k, v), expected) - 1)


def test_scores_that_rise_all_along_are_weighed_by_the_highest(numbers: torch.dtype) -> None:
    """What was heard before is scaled down again and again."""
    q, v = torch.ones(1, 1, 3, 64).to(numbers), torch.arange(1000.0).view(1, 1, -1, 1).expand(-1, -1, -1, 64)
    k = (v / 64).to(numbers)
    v = v.to(numbers).contiguous()
    expected = torchs(q.double(), k.double(), v.double())
    assert decibels(attend(q, k, v), expected) > min(EXACT[numbers], decibels(torchs(q, k, v), expected) - 1)


def test_what_is_no_number_stays_none() -> None:
    q, k, v = (torch.randn(1, 1, 5, 64) for _ in range(3))
    k[0, 0, 2, 3] = float("nan")
    assert bool(fastest_attention(torch.float32)(q, k, v).isnan().all())


def test_heads_that_the_kernel_has_no_room_for_are_torchs(numbers: torch.dtype) -> None:
    for dimensions in (80, _MULTIPLES[numbers] + 1):
        q, k, v = (torch.randn(1, 2, 5, dimensions).to(numbers) for _ in range(3))
        assert torch.equal(attend(q, k, v), torchs(q, k, v))


def test_torchs_is_taken_where_it_is_as_fast(numbers: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "has_amx", lambda: False)
    monkeypatch.setattr(processor, "is_of_intel", lambda: False)
    assert fastest_attention(numbers) is attend
    monkeypatch.setattr(processor, "has_amx", lambda: True)
    monkeypatch.setattr(processor, "is_of_intel", lambda: True)
    assert fastest_attention(numbers) is torchs
    assert fastest_attention(torch.float16) is torchs
