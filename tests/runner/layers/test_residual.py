"""Folded residual branches against demucs' own."""

from typing import Any

import pytest
import torch
from demucs.demucs import DConv

from runner.layers.residual import FoldedResiduals, can_be_folded


def branches(channels: int = 16, **changes: Any) -> DConv:
    """With weights as large as training makes them, those of the norms too."""
    torch.manual_seed(3)
    dconv = DConv(channels, **{"compress": 4, "init": 0.3, **changes}).eval()
    for parameter in dconv.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return dconv


@pytest.mark.parametrize("shape", [(1, 16, 1), (3, 16, 2), (2, 16, 3), (5, 16, 97), (1, 16, 20_000)])
@pytest.mark.parametrize("changes", [{}, {"depth": 3}, {"depth": -2}, {"kernel": 5}, {"compress": 8}])
def test_they_are_equal_to_demucs_whatever_the_length(
    shape: tuple[int, int, int], changes: dict[str, Any]
) -> None:
    dconv = branches(**changes)
    x = torch.randn(shape)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(FoldedResiduals(dconv, torch.float32)(x), dconv(x), rtol=1e-4, atol=2e-5)
    assert torch.equal(x, before), "the input is not changed"


def test_an_offset_much_larger_than_the_signal_costs_no_digits() -> None:
    """The variance would be a small difference of large squares."""
    dconv = branches()
    parts: list[Any] = list(dconv.layers[0].children())
    parts[3].bias.data += 300.0
    x = torch.randn(2, 16, 500)
    with torch.no_grad():
        exact = dconv.double()(x.double()).float()
        torch.testing.assert_close(
            FoldedResiduals(dconv.float(), torch.float32)(x), exact, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("changes", [{"attn": True}, {"lstm": True}, {"gelu": False}, {"norm": False}])
def test_branches_of_another_kind_are_left_alone(changes: dict[str, Any]) -> None:
    assert not can_be_folded(branches(**changes))
    assert can_be_folded(branches())
