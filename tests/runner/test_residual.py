"""Folded residual branches against demucs' own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from demucs.demucs import DConv

from runner.residual import FoldedResiduals, fold_residuals
from tests.runner.tiny_models import tiny_demucs, tiny_hdemucs, tiny_htdemucs


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
        torch.testing.assert_close(FoldedResiduals(dconv)(x), dconv(x), rtol=1e-4, atol=2e-5)
    assert torch.equal(x, before), "the input is not changed"


def test_an_offset_much_larger_than_the_signal_costs_no_digits() -> None:
    """The variance would be a small difference of large squares."""
    dconv = branches()
    parts: list[Any] = list(dconv.layers[0].children())
    parts[3].bias.data += 300.0
    x = torch.randn(2, 16, 500)
    with torch.no_grad():
        exact = dconv.double()(x.double()).float()
        torch.testing.assert_close(FoldedResiduals(dconv.float())(x), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "plain", "other"),
    [
        (lambda: tiny_htdemucs(dconv_mode=3), 8, 0),
        (tiny_hdemucs, 8, 2),  # its innermost layers have attention and an LSTM
        (tiny_demucs, 3, 0),
    ],
)
def test_all_that_can_be_are_replaced_and_only_once(
    build: Callable[[], torch.nn.Module], plain: int, other: int
) -> None:
    network = build()
    fold_residuals(network)
    folded = [module for module in network.modules() if isinstance(module, FoldedResiduals)]
    fold_residuals(network)
    assert [module for module in network.modules() if isinstance(module, FoldedResiduals)] == folded
    kept = [module for module in network.modules() if isinstance(module, DConv)]
    assert (len(folded), len(kept)) == (plain, other)
