"""The lean forward of HTDemucs against its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from runner.layers.hybrid import can_run_lean, forward, run_lean
from tests.runner.layers.layers_of import assert_equal_to_rounding
from tests.runner.tiny_models import tiny_demucs, tiny_hdemucs, tiny_htdemucs


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_train_segment": False},
        {"freq_emb": 0},
        {"t_layers": 0},
        {"bottom_channels": 0},
        {"sources": ["drums", "bass", "other", "vocals", "guitar", "piano"]},
        {"audio_channels": 1},
    ],
)
@pytest.mark.parametrize("length", [11_025, 7_000])
def test_it_is_equal_to_demucs_forward(changes: dict[str, Any], length: int) -> None:
    network = tiny_htdemucs(**changes).eval()
    torch.manual_seed(8)
    mix = 3 * torch.randn(2, changes.get("audio_channels", 2), length) + 0.5
    before = mix.clone()
    with torch.no_grad():
        expected = network(mix)
        assert_equal_to_rounding(forward(network, mix), expected)
        run_lean(network)
        assert_equal_to_rounding(network(mix), expected)
    assert torch.equal(mix, before), "the input is not changed"


def test_a_mix_longer_than_a_segment_is_refused_as_valid_length_does() -> None:
    network = tiny_htdemucs().eval()
    run_lean(network)
    with pytest.raises(ValueError, match="longer than"):
        network(torch.zeros(1, 2, 11_026))


@pytest.mark.parametrize(
    "build",
    [
        lambda: tiny_htdemucs(cac=False).eval(),
        lambda: tiny_htdemucs().train(),
        lambda: tiny_htdemucs(depth=4).eval(),  # whose branches merge
        lambda: tiny_htdemucs(multi_freqs=[0.5], multi_freqs_depth=1).eval(),
        lambda: tiny_hdemucs().eval(),
        lambda: tiny_demucs().eval(),
    ],
)
def test_networks_of_another_kind_keep_their_own(build: Callable[[], nn.Module]) -> None:
    network = build()
    assert not can_run_lean(network)
    run_lean(network)
    assert "forward" not in vars(network)


def test_layers_may_compute_in_16_bits() -> None:
    network, mix = tiny_htdemucs().eval(), torch.randn(1, 2, 11_025)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = network(mix), forward(network, mix)
    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 0.02
