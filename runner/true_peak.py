"""True peak (ITU-R BS.1770-5, annex 2): the largest sample of the signal at four times its sample rate.

Oracle: `scipy.signal.resample_poly(x, 4, 1)`, whose filter this is: a sinc under a Kaiser window (beta 5).
"""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from runner.waveform import Block

OVERSAMPLING = 4
REACH = 10
"""How many samples on either side an interpolated sample depends on."""
SECTION = 32
"""At least twice the reach: so a section depends on itself and the next one's length of samples only."""


def _filter_taps() -> Block:
    distance = np.arange(-REACH * OVERSAMPLING, REACH * OVERSAMPLING + 1) / OVERSAMPLING
    taps = np.sinc(distance) * np.kaiser(len(distance), 5.0)
    scaled: Block = (OVERSAMPLING * taps / taps.sum()).astype(np.float32)
    return scaled


def _interpolation() -> torch.Tensor:
    """From a section with its neighbours, `SECTION + 20` samples, to its `4 · SECTION` samples."""
    matrix = np.zeros((SECTION + 2 * REACH, SECTION, OVERSAMPLING), np.float32)
    for phase in range(OVERSAMPLING):
        taps = _TAPS[phase::OVERSAMPLING][::-1]
        for sample in range(SECTION):
            matrix[sample + 2 * REACH + 1 - len(taps) : sample + 2 * REACH + 1, sample, phase] = taps
    return torch.from_numpy(matrix.reshape(SECTION + 2 * REACH, -1))


_TAPS = _filter_taps()
_INTERPOLATION = _interpolation()
EXACT_INTERPOLATION = _INTERPOLATION.double()
# No interpolated sample is larger than the samples around it times this (2.24).
_MAX_GAIN = max(float(np.abs(_TAPS[phase::OVERSAMPLING]).sum()) for phase in range(OVERSAMPLING))

_AT_ONCE = 256
"""Sections of one product."""
_ROUNDING = 1 - 1e-5
"""More than products of float32 are off: 20 terms of at most 2.24 together, half a unit of 2^-23 each."""


class TruePeak:
    """Running true peak of a signal of `channels` channels, over all of them; linear, 1.0 is full scale."""

    def __init__(self, channels: int) -> None:
        # Up to 20 samples that the next ones need as neighbours. Before the signal there is silence.
        self._history: Block = np.zeros((channels, REACH), np.float32)
        self._peak = 0.0

    def push(self, block: Block) -> None:
        """Takes the next samples."""
        signal = np.concatenate([self._history, block], axis=1)
        self._peak = _peak_inside(signal, self._peak)
        self._history = signal[:, -min(2 * REACH, signal.shape[1]) :].copy()

    def result(self) -> float:
        """The true peak if the signal ends here; more may follow."""
        silence = np.zeros((len(self._history), REACH), np.float32)
        return _peak_inside(np.concatenate([self._history, silence], axis=1), self._peak)


def _peak_inside(signal: Block, peak: float) -> float:
    """The larger of `peak` and the true peak of `signal` without its first and last `REACH` samples.

    Only sections that could beat the peak so far are interpolated: most of a song is passed over, and the
    result is the same.
    """
    length = signal.shape[1] - 2 * REACH
    if length <= 0:
        return peak
    whole = length // SECTION * SECTION
    rest = np.zeros((len(signal), SECTION + 2 * REACH), np.float32)
    rest[:, : signal.shape[1] - whole] = signal[:, whole:]
    peak = _interpolated_peak(rest, peak, length - whole)
    if whole == 0:
        return peak
    sections = sliding_window_view(signal, SECTION + 2 * REACH, axis=1)
    sections = sections[:, :whole:SECTION]
    largest = _largest_around(signal, whole)
    first = np.unravel_index(largest.argmax(), largest.shape)
    peak = _interpolated_peak(sections[first][np.newaxis].copy(), peak)
    return _interpolated_peak(sections[largest * _MAX_GAIN > peak], peak)


def _largest_around(signal: Block, whole: int) -> NDArray[np.float32]:
    """For each section, `(channels, whole / SECTION)`, a bound of the samples that it depends on."""
    magnitudes = torch.from_numpy(signal)[:, : whole + 2 * REACH].abs()
    # Here torch is three times as fast as numpy.
    largest = magnitudes[:, :whole].reshape(len(signal), -1, SECTION).amax(dim=2).numpy()
    end = magnitudes[:, whole:].amax(dim=1, keepdim=True).numpy()
    following = np.concatenate([largest[:, 1:], end], axis=1)
    bound: NDArray[np.float32] = np.maximum(largest, following)
    return bound


def _interpolated_peak(sections: Block, peak: float, length: int = SECTION) -> float:
    """The larger of `peak` and the true peak of sections `(count, SECTION + 20)`, neighbours left out.

    Only the first `length` samples of each count. Float32 picks those that may be the highest, float64 says
    how high they are, so that the rounding of the one does not matter.
    """
    samples = length * OVERSAMPLING
    for first in range(0, len(sections) if length else 0, _AT_ONCE):
        group = sections[first : first + _AT_ONCE]
        # oneDNN compiles a kernel for every shape that it meets and keeps it: so there is one shape only.
        padded = torch.zeros(_AT_ONCE, SECTION + 2 * REACH)
        padded[: len(group)] = torch.from_numpy(group)
        peaks = (padded @ _INTERPOLATION)[: len(group), :samples].abs().amax(dim=1).numpy()
        highest = group[peaks > max(peak, float(peaks.max())) * _ROUNDING]
        if len(highest):
            exact = torch.from_numpy(highest).double() @ EXACT_INTERPOLATION[:, :samples]
            peak = max(peak, float(exact.abs().max()))
    return peak


def reference_true_peak(signal: Block) -> float:
    """`TruePeak` of a whole signal by scipy itself."""
    from scipy.signal import resample_poly

    if signal.size == 0:
        return 0.0
    return float(np.abs(resample_poly(signal, OVERSAMPLING, 1, axis=1)).max())
