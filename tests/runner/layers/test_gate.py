"""The kernel for gates against torch's."""

import pytest
import torch
from torch.nn import functional

from runner.layers.gate import gate
from tests.runner.layers.layers_of import threads_of_torch


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 2, 1), (2, 6, 15), (5, 2, 16), (1, 4, 1000)])
@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
def test_half_of_the_channels_pass_the_gates_of_the_other(
    shape: tuple[int, ...], numbers: torch.dtype, threads: int
) -> None:
    torch.manual_seed(0)
    wide = 5 * torch.randn(shape).to(numbers)
    expected = functional.glu(wide.double(), 1)
    room = torch.full((shape[1] // 2, shape[0], shape[2] + 1), 7.0).to(numbers)
    result = room[..., :-1].transpose(0, 1)
    with threads_of_torch(threads):
        gate(wide, result)
    most = 2**-8 if numbers is torch.bfloat16 else 1e-6
    torch.testing.assert_close(result.double(), expected, rtol=most, atol=1e-30)
    assert bool((room[..., -1] == 7).all()), "nothing else is written"


def test_gates_are_closed_and_open_however_far_from_zero() -> None:
    wide = torch.tensor([[[3.0] * 4, [-1e30, -200.0, 200.0, 1e30]]])
    result = torch.empty(1, 1, 4)
    gate(wide, result)
    torch.testing.assert_close(result, torch.tensor([[[0.0, 0.0, 3.0, 3.0]]]), rtol=0, atol=1e-30)


def test_what_is_no_number_stays_none() -> None:
    """So that whoever writes the files finds it."""
    wide = torch.tensor([[[1.0, 2.0], [float("nan"), 0.0]]])
    result = torch.empty(1, 1, 2)
    gate(wide, result)
    torch.testing.assert_close(result, torch.tensor([[[float("nan"), 1.0]]]), equal_nan=True)


@pytest.mark.parametrize(
    ("wide", "result"),
    [
        (torch.zeros(1, 4, 9), torch.zeros(1, 3, 9)),
        (torch.zeros(1, 4, 9).double(), torch.zeros(1, 2, 9).double()),
        (torch.zeros(1, 4, 9), torch.zeros(1, 2, 9).bfloat16()),
        (torch.zeros(1, 4, 9), torch.zeros(1, 2, 18)[..., ::2]),
        (torch.zeros(2, 4, 9), torch.zeros(1, 2, 9)),
    ],
    ids=["channels", "float64", "other numbers", "every other", "rows"],
)
def test_what_the_kernel_would_misread_is_refused(wide: torch.Tensor, result: torch.Tensor) -> None:
    with pytest.raises(AssertionError):
        gate(wide, result)
