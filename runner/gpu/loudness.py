"""`runner.loudness.Meter` on a GPU: loudness and true peak of a track while its blocks pass.

K-weighting decays: after a fifth of a second nothing is left of a sample that a float64 could hold. So the
filter is a product of spectra, and what a transform wraps around falls on samples that were done before
(T. Stockham, "High-speed convolution and correlation", 1966). The true peak is interpolated everywhere, in
float64 too. Oracles: pyloudnorm, within 1e-6 LU, and `scipy.signal.resample_poly`.
"""

import math
from itertools import count, pairwise, takewhile

import numpy as np
import torch

from runner.device import to_device
from runner.loudness import Level, gated_loudness, hop_bound, k_weighting
from runner.true_peak import OVERSAMPLING, REACH, TAPS
from runner.waveform import Block

_SECONDS_HEARD = 0.2
_TRANSFORMED = 1 << 20
"""Samples of the longest transform; a stereo block then takes some 0.2 GB."""
_SECTION = 32
"""Samples that are interpolated together."""


def _interpolation() -> torch.Tensor:
    """From a section with its neighbours, `_SECTION + 20` samples, to its `4 · _SECTION` samples."""
    matrix = np.zeros((_SECTION + 2 * REACH, _SECTION, OVERSAMPLING))
    for sample in range(_SECTION):
        matrix[sample : sample + TAPS.shape[1], sample] = TAPS.T
    return torch.from_numpy(matrix.reshape(len(matrix), -1))


class GpuMeter:
    """Takes and gives what `runner.loudness.Meter` does, on any torch device."""

    def __init__(self, sample_rate: int, channels: int, device: str) -> None:
        self._sample_rate, self._channels, self._device = sample_rate, channels, device
        self._filter = torch.from_numpy(k_weighting(sample_rate)).to(device)
        # Samples before the next ones that these need: what the filter still hears, some for the true peak.
        self._heard = self._zeros(channels, math.ceil(_SECONDS_HEARD * sample_rate))
        self._waiting = self._zeros(channels, REACH)
        self._peak = self._zeros(1)
        self._interpolation = _interpolation().to(device)
        self._hops: list[torch.Tensor] = []  # energies of finished hops of 100 ms, summed over the channels
        self._finished = self._frames = 0  # hops, samples
        self._open_hop = self._zeros(1)  # energy of the hop that the next sample belongs to

    def push(self, block: Block) -> None:
        """Takes the next samples, `(channels, samples)`."""
        at_once = _TRANSFORMED - self._heard.shape[1]
        for first in range(0, block.shape[1], at_once):
            self._push(block[:, first : first + at_once])

    def _push(self, block: Block) -> None:
        signal = to_device(torch.from_numpy(np.ascontiguousarray(block)), self._device).double()
        self._add_energy(self._weighted(signal).square().sum(0))
        self._waiting = torch.cat([self._waiting, signal], 1)
        whole = (self._waiting.shape[1] - 2 * REACH) // _SECTION * _SECTION
        if whole > 0:
            sections = self._waiting[:, : whole + 2 * REACH]
            self._peak = torch.maximum(self._peak, _interpolated(sections, self._interpolation).max())
            self._waiting = self._waiting[:, whole:].clone()

    def result(self) -> Level:
        """The level if the track ends here; more may follow."""
        hops = torch.cat([*self._hops, self._open_hop]).cpu().numpy()
        return Level(gated_loudness(hops, self._frames, self._sample_rate), self._highest())

    def _weighted(self, signal: torch.Tensor) -> torch.Tensor:
        heard = torch.cat([self._heard, signal], 1)
        length = 1 << (heard.shape[1] - 1).bit_length()
        response = torch.ones(1, dtype=torch.complex128, device=self._device)
        for section in self._filter:
            response = response * torch.fft.rfft(section[:3], length) / torch.fft.rfft(section[3:], length)
        spectra = torch.fft.rfft(heard, length) * response
        weighted: torch.Tensor = torch.fft.irfft(spectra, length)[:, self._heard.shape[1] : heard.shape[1]]
        self._heard = heard[:, signal.shape[1] :].clone()
        return weighted

    def _add_energy(self, energy: torch.Tensor) -> None:
        """Sums the energy of the next samples into hops."""
        bounds = (hop_bound(hop, self._sample_rate) - self._frames for hop in count(self._finished + 1))
        ends = list(takewhile(lambda end: end <= len(energy), bounds))
        # A row for each hop and one for what is left, of samples and a zero in place of what is beyond: sums
        # along rows are the same each time, a sum that runs through all of them is not.
        edges = [0, *ends, len(energy)]
        bound = torch.tensor(edges, device=self._device)
        longest = max(after - before for before, after in pairwise(edges))
        places = bound[:-1, None] + torch.arange(longest, device=self._device)
        places = torch.where(places < bound[1:, None], places, len(energy))
        energies = torch.cat([energy, self._zeros(1)])[places].sum(1)
        energies[:1] += self._open_hop
        self._hops.append(energies[:-1])
        self._open_hop = energies[-1:]
        self._finished += len(ends)
        self._frames += len(energy)

    def _highest(self) -> float:
        """The true peak, with silence after what is still waiting."""
        samples = self._waiting.shape[1] - REACH
        whole = max(1, -(-samples // _SECTION)) * _SECTION
        silence = self._zeros(self._channels, REACH + whole - samples)
        last = _interpolated(torch.cat([self._waiting, silence], 1), self._interpolation)
        return float(torch.cat([self._peak, last[:, : samples * OVERSAMPLING].flatten()]).max())

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self._device)


def _interpolated(signal: torch.Tensor, interpolation: torch.Tensor) -> torch.Tensor:
    """Magnitudes at four times the rate, of whole sections, without their neighbours."""
    return (signal.unfold(1, _SECTION + 2 * REACH, _SECTION) @ interpolation).flatten(1).abs()
