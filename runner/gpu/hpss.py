"""`runner.hpss.Hpss` on a GPU: the harmonic part of a signal, block by block.

Method, sources and oracle are the same: `librosa.effects.hpss`, within 2e-6. Medians are torch's, by sorting.
A chunk of frames is computed anew with the 15 frames on either side that its medians see.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from runner.device import to_device, to_host
from runner.hpss import HALO, HOP, N_FFT
from runner.medians import KERNEL
from runner.waveform import Block, empty

CHUNK_FRAMES = 512
"""Frames that are finished at once: 6 s at 44.1 kHz. The medians of a stereo chunk sort 0.26 GB."""

_TINY = torch.finfo(torch.float32).tiny
_BINS = N_FFT // 2 + 1
_OVERLAP = N_FFT - HOP
_MIRRORED_BINS = np.pad(np.arange(_BINS), HALO, mode="symmetric")


class GpuHpss:
    """Takes and gives what `runner.hpss.Hpss` does, on any torch device."""

    def __init__(self, channels: int, device: str) -> None:
        self._device = device
        self._window = torch.hann_window(N_FFT, device=device)
        # From the first frame that is still needed on; before the song stands half a window of zeros.
        self._input = torch.zeros(channels, N_FFT // 2, device=device)
        self._done = 0  # frames
        # What finished frames add to samples that are not final yet; the last row sums the squared windows.
        self._overlap = torch.zeros(channels + 1, _OVERLAP, device=device)
        self._received = self._emitted = 0

    def push(self, block: Block) -> Block:
        """Takes the next samples and returns those of the harmonic part that have become final."""
        self._received += block.shape[1]
        self._append(to_device(torch.from_numpy(np.ascontiguousarray(block)), self._device))
        final = [empty(len(self._input))]
        while self._frames_heard() >= self._done + CHUNK_FRAMES + HALO:
            final.append(self._process(CHUNK_FRAMES))
        return np.concatenate(final, axis=1)

    def flush(self) -> Block:
        """The rest of the harmonic part, after the last sample."""
        if self._received == 0:
            return empty(len(self._input))
        self._append(torch.zeros(len(self._input), N_FFT // 2, device=self._device))
        return self._process(self._frames_heard() - self._done, at_end=True)

    def _append(self, samples: torch.Tensor) -> None:
        self._input = torch.cat([self._input, samples], 1)

    def _first_kept(self) -> int:
        return max(0, self._done - HALO)

    def _frames_heard(self) -> int:
        return self._first_kept() + max(0, 1 + (self._input.shape[1] - N_FFT) // HOP)

    def _process(self, count: int, *, at_end: bool = False) -> Block:
        """Finishes `count` more frames and returns the samples that become final."""
        pieces = torch.fft.irfft(self._harmonic_spectra(count), n=N_FFT) * self._window
        pieces = torch.cat([pieces, self._window.square().expand(1, count, N_FFT)])
        total = torch.zeros(len(pieces), _OVERLAP + count * HOP, device=self._device)
        total[:, :_OVERLAP] = self._overlap
        for part in range(N_FFT // HOP):
            place = total[:, part * HOP : (part + count) * HOP].view(-1, count, HOP)
            place += pieces[..., part * HOP : (part + 1) * HOP]
        skipped = max(0, N_FFT // 2 - self._done * HOP)  # what stands before the song
        self._overlap = total[:, count * HOP :]
        self._drop(count)
        final = total[:, skipped : None if at_end else count * HOP]
        harmonic = final[:-1] / torch.where(final[-1] > _TINY, final[-1], 1.0)
        result: Block = to_host(harmonic[:, : self._received - self._emitted]).numpy()
        self._emitted += result.shape[1]
        return result

    def _drop(self, count: int) -> None:
        before = self._first_kept()
        self._done += count
        self._input = self._input[:, (self._first_kept() - before) * HOP :]

    def _harmonic_spectra(self, count: int) -> torch.Tensor:
        """Of the next `count` frames, `(channels, count, bins)`."""
        known = self._done - self._first_kept()
        frames = self._input.unfold(1, N_FFT, HOP)[:, : known + count + HALO]
        spectra = torch.fft.rfft(frames * self._window)
        magnitudes = torch.hypot(spectra.real, spectra.imag)  # `abs` would be compiled at its first use
        # At its ends the song is mirrored, as in a mirror that shows the edge frame too. So are the bins.
        before, seen = HALO - known, frames.shape[1]
        after = count + 2 * HALO - before - seen
        times = self._index(np.pad(np.arange(seen), (before, after), mode="symmetric"))
        mine = slice(known, known + count)
        harmonic = _medians(magnitudes[:, times], 1)
        percussive = _medians(magnitudes[:, mine, self._index(_MIRRORED_BINS)], 2)
        result: torch.Tensor = spectra[:, mine] * _mask(harmonic, percussive)
        return result

    def _index(self, places: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(places).to(self._device)


def _medians(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Of 31 neighbours along an axis, which becomes 30 shorter."""
    medians: torch.Tensor = values.unfold(axis, KERNEL, 1).median(-1).values
    return medians


def _mask(harmonic: torch.Tensor, percussive: torch.Tensor) -> torch.Tensor:
    """The soft mask of power 2; librosa splits what is zero in both evenly."""
    nothing = torch.maximum(harmonic, percussive) < _TINY
    mask = 1 / (1 + (percussive / harmonic).square())
    return torch.where(nothing, 0.5, mask)
