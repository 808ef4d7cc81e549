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

from runner.medians import KERNEL, running_medians
from runner.waveform import Block, empty

N_FFT = 2048
HOP = 512
HALO = KERNEL // 2
CHUNK_FRAMES = 256
"""Frames processed at once (3 s at 44.1 kHz): the halo of 30 frames then costs 12 %."""

_BINS = N_FFT // 2 + 1
_OVERLAP = N_FFT - HOP
_TINY = np.finfo(np.float32).tiny
# scipy's median_filter, which librosa calls, reads outside its input when it mirrors 2 or 3 frames for 31.
_FRAMES_SCIPY_MISREADS = (2, 3)
_WINDOW = torch.hann_window(N_FFT)
_WINDOW_ENERGY = _WINDOW.square().numpy()


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
        self._spectra = np.empty((channels, 0, _BINS), np.complex64)  # from frame max(0, done - HALO) on
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
            self._analyse(CHUNK_FRAMES)
            final.append(self._synthesise(self._frames_seen() - HALO, at_end=False))
        return np.concatenate(final, axis=1)

    def flush(self) -> Block:
        """The rest of the harmonic part, after the last sample."""
        if self._received == 0:
            return empty(len(self._input))
        padding = np.zeros((len(self._input), N_FFT // 2), np.float32)
        self._input = np.concatenate([self._input, padding], axis=1)
        self._analyse(1 + self._received // HOP - self._frames_seen())
        return self._synthesise(self._frames_seen(), at_end=True)

    def _frames_seen(self) -> int:
        return max(0, self._done - HALO) + self._spectra.shape[1]

    def _analyse(self, count: int) -> None:
        """Turns the waiting input into `count` more spectra."""
        if count == 0:
            return
        frames = torch.from_numpy(self._input).unfold(1, N_FFT, HOP)[:, :count]
        spectra = torch.fft.rfft(frames * _WINDOW).numpy()
        self._spectra = np.concatenate([self._spectra, spectra], axis=1)
        self._input = self._input[:, count * HOP :].copy()

    def _synthesise(self, end: int, *, at_end: bool) -> Block:
        """Masks the frames from `_done` to `end`, adds them to the output, returns its final samples."""
        start = self._done - max(0, self._done - HALO)
        count = end - self._done
        span = _OVERLAP + count * HOP
        total = np.zeros((len(self._spectra) + 1, span), np.float32)
        total[:, :_OVERLAP] = self._overlap
        before, after = HALO - start, HALO if at_end else 0
        for row, spectra in zip(total, self._spectra, strict=False):
            mask = _harmonic_mask(np.abs(spectra), start, start + count, before, after)
            masked = torch.from_numpy(spectra[start : start + count]) * torch.from_numpy(mask)
            _overlap_add(row, torch.fft.irfft(masked, n=N_FFT).mul_(_WINDOW).numpy())
        _overlap_add(total[-1], np.broadcast_to(_WINDOW_ENERGY, (count, N_FFT)))
        first_sample = self._done * HOP - N_FFT // 2
        self._done = end
        self._overlap = total[:, count * HOP :].copy()
        self._spectra = self._spectra[:, start + count - min(end, HALO) :].copy()
        final = total if at_end else total[:, : count * HOP]
        skipped = max(0, -first_sample)
        harmonic = _divide(final[:-1, skipped:], final[-1, skipped:])[:, : self._received - self._emitted]
        self._emitted += harmonic.shape[1]
        return harmonic


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


def _harmonic_mask(magnitudes: Block, start: int, end: int, before: int, after: int) -> Block:
    """Soft mask of the frames `start` to `end` of `magnitudes` `(frames, bins)`, which holds their halo too.

    `before` and `after` frames of the halo do not exist: there the song is mirrored at its ends.
    """
    harmonic = running_medians(_mirrored(magnitudes, before, after))
    percussive = _transposed(running_medians(_mirrored(_transposed(magnitudes[start:end]), HALO, HALO)))
    silent = np.maximum(harmonic, percussive) < _TINY
    if silent.any():  # librosa splits what is zero in both evenly
        harmonic[silent] = percussive[silent] = 1
    # harmonic² / (harmonic² + percussive²) = 1 / (1 + (percussive / harmonic)²)
    with np.errstate(divide="ignore", over="ignore"):  # the limit is right: a mask of zero
        mask = np.divide(percussive, harmonic, out=percussive)
        np.multiply(mask, mask, out=mask)
    mask += 1
    return np.reciprocal(mask, out=mask)


def _mirrored(rows: Block, before: int, after: int) -> Block:
    """The rows with so many more before and after them, as in a mirror that shows the edge row too."""
    return np.pad(rows, ((before, after), (0, 0)), mode="symmetric")


def _transposed(matrix: Block) -> Block:
    """The transpose in memory of its own; torch does this several times as fast as numpy."""
    transposed: Block = torch.from_numpy(matrix).t().contiguous().numpy()
    return transposed


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
