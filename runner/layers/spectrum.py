"""The inverse spectrogram at the end of HTDemucs: on a CPU one source and channel after the other.

The overlap-add of D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984: a
Hann window whose hop is a quarter of it, applied twice, sums to 1.5 wherever four frames meet. HTDemucs pads
the song so that they do wherever it listens. `torch.istft` makes sure of that, and the CPU waits for the GPU.
Oracle: HTDemucs' `_mask` and `_ispec`; equal to rounding.
"""

from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from torch import nn

_WINDOW_SUM = 1.5


def invert_lean(network: nn.Module) -> None:
    """Replaces the end of an HTDemucs whose spectra are complex numbers as channels, and nothing else."""
    if not isinstance(network, HTDemucs) or not network.cac:
        return
    given: Any = network
    given._mask = lambda _, spectra: spectra  # `inverse` takes real and imaginary parts as they are
    given._ispec = lambda spectra, length: inverse(spectra, length, given.nfft)


def inverse(spectra: torch.Tensor, length: int, n_fft: int) -> torch.Tensor:
    """Signals `(batch, sources, channels, length)`.

    `spectra` are `(batch, sources, 2 * channels, n_fft / 2, frames)`: real and imaginary parts in turns, the
    highest frequency left out.
    """
    batch, sources, parts, bins, frames = spectra.shape
    hop = n_fft // 4
    start = hop // 2 * 3
    window = torch.hann_window(n_fft, device=spectra.device) / _WINDOW_SUM
    signals = spectra.new_empty(batch * sources * parts // 2, length, dtype=torch.float32)
    at_once = 1 if spectra.device.type == "cpu" else len(signals)
    both = torch.zeros(at_once, frames, bins + 1, 2, device=spectra.device)
    pairs = spectra.reshape(-1, 2, bins, frames)
    for some, spectrum in zip(torch.split(signals, at_once), torch.split(pairs, at_once), strict=True):
        both[:, :, :bins] = spectrum.permute(0, 3, 2, 1)
        pieces = torch.fft.irfft(torch.view_as_complex(both), norm="ortho").mul_(window)
        total = torch.zeros(at_once, frames + 3, hop, device=spectra.device)
        for part in range(4):
            total[:, part : part + frames] += pieces[..., part * hop : (part + 1) * hop]
        some.copy_(total.flatten(1)[:, start : start + length])
    return signals.view(batch, sources, parts // 2, length)
