"""Transposed convolutions as products of matrices against torch's."""

import pytest
import torch
from torch.nn import functional

from runner.layers.overlap import overlap
from tests.runner.layers.layers_of import threads_of_torch

STRIDE = 4


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("time", [1, 16, 77])
@pytest.mark.parametrize("cut", [1, 2, 5])
@pytest.mark.parametrize("then_gelu", [False, True])
def test_steps_in_two_parts_are_a_transposed_convolution(
    cut: int, time: int, then_gelu: bool, threads: int
) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(6, 5, time), torch.randn(5, 3, 2 * STRIDE), torch.randn(3)
    expected = functional.conv_transpose2d(x.transpose(0, 1)[None], weight[..., None], bias, (STRIDE, 1))[0]
    if then_gelu:
        expected = functional.gelu(expected)
    taps = weight.view(5, 3, 2, STRIDE).permute(2, 1, 3, 0).flatten(0, 2)
    halves = torch.matmul(taps, x).view(6, 2, 3, STRIDE, time)
    result = torch.full((3, 7 * STRIDE, time + 1), 7.0)
    first, second = halves[:cut], halves[cut:]
    with threads_of_torch(threads):
        overlap(first, None, bias, result[:, : cut * STRIDE, :-1], then_gelu=then_gelu)
        overlap(second, first[-1, 1], bias, result[:, cut * STRIDE :, :-1], then_gelu=then_gelu)
    torch.testing.assert_close(result[..., :-1], expected, rtol=1e-5, atol=5e-6)
    assert bool((result[..., -1] == 7).all()), "nothing else is written"


@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
def test_halves_of_bfloat16_are_added_in_float32(numbers: torch.dtype) -> None:
    torch.manual_seed(0)
    halves = torch.randn(2, 2, 1, 1, 50).bfloat16()
    result = torch.empty(1, 3, 50, dtype=numbers)
    overlap(halves, None, torch.ones(1), result, then_gelu=False)
    whole = halves.float()[:, :, 0, 0]
    expected = torch.stack([whole[0, 0], whole[1, 0] + whole[0, 1], whole[1, 1]]) + 1
    torch.testing.assert_close(result[0], expected.to(numbers), rtol=0, atol=0)


def test_what_the_kernel_would_misread_is_refused() -> None:
    halves, bias, result = torch.zeros(2, 2, 3, STRIDE, 9), torch.zeros(3), torch.zeros(3, 2 * STRIDE, 9)
    overlap(halves, None, bias, result, then_gelu=False)
    for wrong in (
        (halves.transpose(0, 1), None, bias, result),
        (halves, halves[0, 1, :2], bias, result),
        (halves, halves[0, 1].bfloat16(), bias, result),
        (halves, None, bias.double(), result),
        (halves, None, bias, result[:2]),
        (halves, None, bias, torch.zeros(3, 4 * STRIDE, 9)),
        (halves, None, bias, result.bfloat16()),
        (halves, None, bias, torch.zeros(3, 2 * STRIDE, 18)[..., ::2]),
    ):
        with pytest.raises(AssertionError):
            overlap(*wrong, then_gelu=False)
