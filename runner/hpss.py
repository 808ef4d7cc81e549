"""Harmonic-percussive source separation as a stream, with the numbers of `librosa.effects.hpss`.

The method is D. FitzGerald's median filtering (DAFx 2010) with the soft masks of J. Driedger et al.
(ISMIR 2014) and librosa's defaults: Hann window of 2048 samples, hop 512, medians over 31 frames and 31 bins,
power 2, margin 1. Both masks then sum to one, so percussive is the input minus harmonic, and one inverse
transform is enough.
"""

import warnings
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from runner.kernels import LENGTH, POINTER, ROWS, kernel, rows
from runner.medians import KERNEL, medians_along, medians_down, room
from runner.waveform import Block, empty

N_FFT = 2048
HOP = 512
HALO = KERNEL // 2
CHUNK_FRAMES = 256
"""Frames processed at once (3 s at 44.1 kHz): the halo of 30 frames then costs 12 %."""

Spectra = NDArray[np.complex64]

_BINS = N_FFT // 2 + 1
_OVERLAP = N_FFT - HOP
_TINY = np.finfo(np.float32).tiny
# scipy's median_filter, which librosa calls, reads outside its input when it mirrors 2 or 3 frames for 31.
_FRAMES_SCIPY_MISREADS = (2, 3)
_WINDOW = torch.hann_window(N_FFT)
# Where the bins lie in a row of magnitudes; on either side is room for their mirror image.
_BINS_PLACE = slice(1 + HALO, 1 + HALO + _BINS)
_WINDOW_ENERGY = _WINDOW.square().numpy()
_soft_mask = kernel("soft_mask", *ROWS, *ROWS, POINTER, POINTER, LENGTH, LENGTH)


class HarmonicFilter(Protocol):
    """What `Hpss` and `ReferenceHpss` both are."""

    def push(self, block: Block) -> Block: ...

    def flush(self) -> Block: ...


class Hpss:
    """The harmonic part of a signal of `channels` channels, each on its own, block by block.

    Input and output are `(channels, samples)` at any scale. The output begins with the input's sample 0, lags
    behind it by up to 140,000 samples, and `flush` ends it at exactly the input's length. How the input is
    cut into blocks does not change a single bit, because frames are always processed in the same chunks.
    """

    def __init__(self, channels: int) -> None:
        # librosa centres its frames: half a window of zeros stands before the song, and after it.
        self._input: Block = np.zeros((channels, N_FFT // 2), np.float32)
        # Of the last frames, what the next ones need: magnitudes of the last 30, spectra of the 15 not done.
        self._magnitudes: list[Block] = [np.empty((0, room(_BINS)), np.float32)] * channels
        self._spectra: list[Spectra] = [np.empty((0, _BINS), np.complex64)] * channels
        self._done = 0  # frames whose harmonic part has been added to the output
        # What finished frames add to samples that are not final yet; the last row sums the squared windows.
        self._overlap: Block = np.zeros((channels + 1, _OVERLAP), np.float32)
        self._received = 0
        self._emitted = 0

    def push(self, block: Block) -> Block:
        """Takes the next samples and returns those of the harmonic part that have become final."""
        self._received += block.shape[1]
        self._input = np.concatenate([self._input, block], axis=1)
        final = [empty(len(self._input))]
        while self._input.shape[1] >= N_FFT + (CHUNK_FRAMES - 1) * HOP:
            final.append(self._process(CHUNK_FRAMES, at_end=False))
        return np.concatenate(final, axis=1)

    def flush(self) -> Block:
        """The rest of the harmonic part, after the last sample."""
        if self._received == 0:
            return empty(len(self._input))
        padding = np.zeros((len(self._input), N_FFT // 2), np.float32)
        self._input = np.concatenate([self._input, padding], axis=1)
        seen = self._done + len(self._spectra[0])
        return self._process(1 + self._received // HOP - seen, at_end=True)

    def _process(self, count: int, *, at_end: bool) -> Block:
        """Takes `count` more frames of the waiting input and returns the samples that become final."""
        done = len(self._spectra[0]) + count - (0 if at_end else HALO)  # so many frames more than before
        total = np.zeros((len(self._input) + 1, _OVERLAP + done * HOP), np.float32)
        total[:, :_OVERLAP] = self._overlap
        for channel, row in enumerate(total[:-1]):
            spectra = torch.from_numpy(self._harmonic_spectra(channel, count, at_end=at_end))
            _overlap_add(row, torch.fft.irfft(spectra, n=N_FFT).mul_(_WINDOW).numpy())
        _overlap_add(total[-1], np.broadcast_to(_WINDOW_ENERGY, (done, N_FFT)))
        self._input = self._input[:, count * HOP :].copy()
        self._overlap = total[:, done * HOP :].copy()
        first_sample = self._done * HOP - N_FFT // 2
        self._done += done
        final = total if at_end else total[:, : done * HOP]
        skipped = max(0, -first_sample)
        harmonic = _divide(final[:-1, skipped:], final[-1, skipped:])[:, : self._received - self._emitted]
        self._emitted += harmonic.shape[1]
        return harmonic

    def _harmonic_spectra(self, channel: int, count: int, *, at_end: bool) -> Spectra:
        """The harmonic part of the frames that were not done and of the next `count`, but the last halo."""
        waiting, known = self._spectra[channel], self._magnitudes[channel]
        spectra = _spectra(self._input[channel], count)
        before, after = HALO if self._done == 0 else 0, HALO if at_end else 0
        magnitudes = _magnitudes(known, spectra, before, after)
        frames = before + len(known) + count + after
        done = frames - 2 * HALO
        harmonic = medians_down(magnitudes[:, _BINS_PLACE])
        percussive = medians_along(magnitudes[1 + HALO : 1 + HALO + done])
        self._magnitudes[channel] = magnitudes[1 + done : 1 + frames].copy()
        spectra = np.concatenate([waiting, spectra])
        self._spectra[channel] = spectra[done:].copy()
        return _masked(harmonic[:done], percussive, spectra[:done])


def _spectra(samples: Block, count: int) -> Spectra:
    """The first `count` frames' spectra."""
    frames = torch.from_numpy(samples).unfold(0, N_FFT, HOP)[:count]
    spectra: Spectra = torch.fft.rfft(frames * _WINDOW).numpy()
    return spectra


def _magnitudes(known: Block, spectra: Spectra, before: int, after: int) -> Block:
    """Magnitudes of the known frames and the new ones as `medians_down` and `medians_along` want them.

    `before` and `after` so many frames there are none: there the song is mirrored at its ends, as in a mirror
    that shows the edge frame too. So are the bins at theirs.
    """
    count = len(known) + len(spectra)
    magnitudes = np.zeros((room(before + count + after - 2 * HALO), room(_BINS)), np.float32)
    rows = magnitudes[1 + before : 1 + before + count]
    rows[: len(known)] = known
    new = rows[len(known) :, _BINS_PLACE]
    np.abs(spectra, out=new)
    rows[len(known) :, 1 : 1 + HALO] = new[:, HALO - 1 :: -1]
    rows[len(known) :, 1 + HALO + _BINS :][:, :HALO] = new[:, : -HALO - 1 : -1]
    mirrored = np.pad(np.arange(count), (before, after), mode="symmetric")
    magnitudes[1 : 1 + before] = rows[mirrored[:before]]
    magnitudes[1 + before + count :][:after] = rows[mirrored[before + count :]]
    return magnitudes


def _overlap_add(row: Block, frames: NDArray[np.floating]) -> None:
    """Adds the frames `(count, N_FFT)` to `row` at multiples of the hop, the earliest frame first."""
    count = len(frames)
    for part in reversed(range(N_FFT // HOP)):
        at = part * HOP
        row[at : at + count * HOP].reshape(count, HOP)[:] += frames[:, at : at + HOP]


def _divide(signal: Block, window_sum: Block) -> Block:
    """Undoes the gain of analysis and synthesis windows where they reach."""
    divisor: Block = np.where(window_sum > _TINY, window_sum, np.float32(1))
    return np.divide(signal, divisor, dtype=np.float32)


def _masked(harmonic: Block, percussive: Block, spectra: Spectra) -> Spectra:
    """The part of spectra `(count, bins)` that belongs to these harmonic magnitudes, not to the percussive.

    Times harmonic² / (harmonic² + percussive²), or a half where both are nothing, as librosa has it.
    """
    masked = np.empty_like(spectra)
    _soft_mask(*rows(harmonic), *rows(percussive), spectra.ctypes.data, masked.ctypes.data, *spectra.shape)
    return masked


class ReferenceHpss:
    """`Hpss` by librosa itself: holds the whole song in memory."""

    def __init__(self, channels: int) -> None:
        self._blocks = [empty(channels)]

    def push(self, block: Block) -> Block:
        """Keeps the block; nothing is final before the end."""
        self._blocks.append(block.copy())
        return self._blocks[0]

    def flush(self) -> Block:
        """The harmonic part of everything."""
        import librosa

        song = np.concatenate(self._blocks, axis=1)
        frames = 1 + song.shape[1] // HOP
        if song.shape[1] == 0 or frames in _FRAMES_SCIPY_MISREADS:
            exact = Hpss(len(song))
            return np.concatenate([exact.push(song), exact.flush()], axis=1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="n_fft=.* is too large", category=UserWarning)
            return np.stack([librosa.effects.hpss(channel)[0] for channel in song])


class HarmonicPercussive:
    """Splits a signal into harmonic and percussive parts that add up to it.

    `harmonic` is the filter to use, `Hpss(channels)` unless given.
    """

    def __init__(self, channels: int, harmonic: HarmonicFilter | None = None) -> None:
        self._harmonic = harmonic if harmonic is not None else Hpss(channels)
        self._waiting = empty(channels)

    def push(self, block: Block) -> tuple[Block, Block, Block]:
        """Takes the next samples; returns harmonic, percussive and the same stretch of the input."""
        self._waiting = np.concatenate([self._waiting, block], axis=1)
        return self._split(self._harmonic.push(block))

    def flush(self) -> tuple[Block, Block, Block]:
        """The rest of the three, after the last sample."""
        return self._split(self._harmonic.flush())

    def _split(self, harmonic: Block) -> tuple[Block, Block, Block]:
        length = harmonic.shape[1]
        original, self._waiting = self._waiting[:, :length], self._waiting[:, length:]
        return harmonic, original - harmonic, original
