"""The lean inverse spectrogram against that of demucs."""

from typing import Any

import pytest
import torch

from runner.layers.spectrum import inverse, invert_lean
from tests.runner.tiny_models import tiny_hdemucs, tiny_htdemucs


@pytest.mark.parametrize("length", [11_025, 11_000, 512, 1])
@pytest.mark.parametrize("batch", [1, 2])
def test_it_is_equal_to_that_of_demucs(length: int, batch: int) -> None:
    network: Any = tiny_htdemucs(use_train_segment=False)
    hop = network.hop_length
    spectra = torch.randn(batch, 4, 4, network.nfft // 2, -(-length // hop))
    expected = network._ispec(network._mask(None, spectra), length)
    torch.testing.assert_close(inverse(spectra, length, network.nfft), expected, rtol=1e-5, atol=2e-6)


def test_only_networks_with_complex_numbers_as_channels_are_changed() -> None:
    changed, other, hybrid = tiny_htdemucs(), tiny_htdemucs(cac=False), tiny_hdemucs()
    for network in (changed, other, hybrid):
        invert_lean(network)
    assert "_ispec" in vars(changed)
    assert "_ispec" not in vars(other)
    assert "_ispec" not in vars(hybrid)
