"""Folded residual branches against demucs' own."""

from typing import Any

import pytest
import torch
from demucs.demucs import DConv

from runner.layers.residual import FoldedResiduals, can_be_folded
from tests.runner.layers.layers_of import threads_of_torch


def branches(channels: int = 16, **changes: Any) -> DConv:
    """With weights as large as training makes them, those of the norms too."""
    torch.manual_seed(3)
    dconv = DConv(channels, **{"compress": 4, "init": 0.3, **changes}).eval()
    for parameter in dconv.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return dconv


@pytest.mark.parametrize("shape", [(1, 16, 1), (3, 16, 2), (2, 16, 3), (5, 16, 97), (1, 16, 20_000)])
@pytest.mark.parametrize("changes", [{}, {"depth": 3}, {"depth": -2}, {"kernel": 5}, {"compress": 8}])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_they_are_equal_to_demucs_whatever_the_length(
    shape: tuple[int, int, int], changes: dict[str, Any], threads: int
) -> None:
    dconv = branches(**changes)
    x = torch.randn(shape)
    before = x.clone()
    with torch.no_grad(), threads_of_torch(threads):
        torch.testing.assert_close(FoldedResiduals(dconv)(x), dconv(x), rtol=1e-4, atol=2e-5)
    assert torch.equal(x, before), "the input is not changed"


@pytest.mark.parametrize("channels", [6, 50, 96])
@pytest.mark.parametrize("compress", [1, 3])
def test_any_number_of_channels_fills_the_kernels_groups(channels: int, compress: int) -> None:
    dconv = branches(channels, compress=compress)
    x = torch.randn(2, channels, 130)
    with torch.no_grad():
        torch.testing.assert_close(FoldedResiduals(dconv)(x), dconv(x), rtol=1e-4, atol=5e-5)


def test_bfloat16_is_rounded_only_where_it_is_read_and_written() -> None:
    dconv = branches(depth=1)
    x = torch.randn(4, 16, 333).bfloat16()
    with torch.no_grad():
        found = FoldedResiduals(dconv)(x)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), dconv(x.float()), rtol=2**-8, atol=2e-5)


def test_rows_need_not_lie_after_each_other() -> None:
    dconv = branches()
    x = torch.randn(1, 16, 7, 45).transpose(1, 2).flatten(0, 1)
    turned = torch.randn(3, 45, 16).transpose(1, 2)
    assert not x.is_contiguous()
    with torch.no_grad():
        for each in (x, turned):
            assert torch.equal(FoldedResiduals(dconv)(each), FoldedResiduals(dconv)(each.contiguous()))


@pytest.mark.parametrize("time", [336, 86_000])
def test_the_length_of_a_row_costs_no_digits(time: int) -> None:
    """Sums of as many numbers lose them, those of the same ones most, unless they are taken in parts."""
    dconv = branches(channels=24, depth=1, compress=8)
    torch.manual_seed(1)
    x = torch.randn(1, 24, time)
    x[..., time // 8 :] = 0
    with torch.no_grad():
        found = FoldedResiduals(dconv)(x)
        error, plain_error = (each - dconv.double()(x.double()) for each in (found, dconv(x)))
    assert float(error.norm()) < 4 * float(plain_error.norm())


def test_what_the_kernel_would_misread_is_refused() -> None:
    folded = FoldedResiduals(branches())
    for x in (torch.zeros(1, 16, 9).double(), torch.zeros(1, 15, 9)):
        with pytest.raises(AssertionError):
            folded(x)


def test_an_offset_much_larger_than_the_signal_costs_no_digits() -> None:
    """The variance would be a small difference of large squares."""
    dconv = branches()
    parts: list[Any] = list(dconv.layers[0].children())
    parts[3].bias.data += 300.0
    x = torch.randn(2, 16, 500)
    with torch.no_grad():
        exact = dconv.double()(x.double()).float()
        torch.testing.assert_close(FoldedResiduals(dconv.float())(x), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{"attn": True}, {"lstm": True}, {"gelu": False}, {"norm": False}])
def test_branches_of_another_kind_are_left_alone(changes: dict[str, Any]) -> None:
    assert not can_be_folded(branches(**changes))
    assert can_be_folded(branches())
