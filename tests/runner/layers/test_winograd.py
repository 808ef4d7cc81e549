"""Convolutions of four rows at a time against PyTorch's."""

import pytest
import torch
from torch.nn import functional

from runner.layers.winograd import WinogradConvolution
from tests.runner.layers.layers_of import assert_equal_to_rounding


def convolution(inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(7)
    return torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5, torch.randn(outputs)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("fours", [1, 2, 5])
@pytest.mark.parametrize("time", [1, 2, 3, 20])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 8), (48, 96)])
def test_it_is_equal_to_pytorchs_convolution(
    inputs: int, outputs: int, time: int, fours: int, batch: int
) -> None:
    weight, bias = convolution(inputs, outputs)
    x = torch.randn(batch, inputs, 4 * fours + 2, time)
    before = x.clone()
    result = WinogradConvolution(weight, bias)(x)
    assert result.shape == (batch, fours, 4, outputs, time)
    expected = functional.conv2d(x, weight, bias, padding=(0, 1))
    assert_equal_to_rounding(result.flatten(1, 2).transpose(1, 2), expected)
    assert torch.equal(x, before), "the input is not changed"


def test_a_part_of_a_larger_tensor_is_convolved_as_a_copy_of_it() -> None:
    """What is cut out of a layer's input is not contiguous."""
    weight, bias = convolution(3, 8)
    part = torch.randn(2, 3, 30, 16)[:, :, 5:15, 2:13]
    convolve = WinogradConvolution(weight, bias)
    assert torch.equal(convolve(part), convolve(part.contiguous()))


def test_it_loses_little_of_float32() -> None:
    """120 dB."""
    weight, bias = convolution(96, 192)
    x = torch.randn(1, 96, 18, 64)
    expected = functional.conv2d(x.double(), weight.double(), bias.double(), padding=(0, 1))
    result = WinogradConvolution(weight, bias)(x).flatten(1, 2).transpose(1, 2)
    assert float((result - expected).norm() / expected.norm()) < 1e-6
