"""The lean inverse spectrogram against that of demucs."""

from typing import Any

import pytest
import torch

from runner.layers.spectrum import inverse
from tests.runner.tiny_models import tiny_htdemucs


@pytest.mark.parametrize("length", [11_025, 11_000, 512, 1])
@pytest.mark.parametrize("batch", [1, 2])
def test_it_is_equal_to_that_of_demucs(length: int, batch: int) -> None:
    network: Any = tiny_htdemucs(use_train_segment=False)
    hop = network.hop_length
    spectra = torch.randn(batch, 4, 4, network.nfft // 2, -(-length // hop))
    factor, offset = torch.randn(2, batch, 1, 1, 1, 1)
    expected = network._ispec(network._mask(None, spectra * factor + offset), length)
    found = inverse(spectra, length, network.nfft, factor, offset)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=4e-6)
