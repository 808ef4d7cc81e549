"""Products with weights in oneDNN's order against torch's own."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional

from runner import processor
from runner.layers.linear import linear


@pytest.fixture(params=["highest", "medium"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("then_gelu", [False, True])
@pytest.mark.parametrize("moments", [1, 50, 700])
@pytest.mark.parametrize(("numbers", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-3)])
def test_a_product_is_that_of_torch(
    numbers: torch.dtype, most: float, moments: int, then_gelu: bool, precision: str
) -> None:
    if precision == "medium" and processor.has_amx():
        most = 5e-3  # the runner does not ask for this there
    torch.manual_seed(4)
    x = torch.randn(2, moments, 96).to(numbers)
    weight, bias = torch.randn(48, 96).to(numbers), torch.randn(48).to(numbers)
    expected = functional.linear(x.double(), weight.double(), bias.double())
    if then_gelu:
        expected = functional.gelu(expected)
    found = linear(weight, bias, then_gelu=then_gelu)(x)
    assert (found.dtype, found.shape) == (numbers, expected.shape)
    assert float((found - expected).norm() / expected.norm()) < most
