"""True peak (ITU-R BS.1770-5, annex 2): the largest sample of the signal at four times its sample rate."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import firwin, resample_poly, upfirdn

from runner.waveform import Block

OVERSAMPLING = 4
_REACH = 10
"""How many samples on either side an interpolated sample depends on."""
_SECTION = 1024

# The filter of scipy.signal.resample_poly(x, 4, 1): that function defines the numbers.
_TAPS = OVERSAMPLING * firwin(2 * _REACH * OVERSAMPLING + 1, 1 / OVERSAMPLING, window=("kaiser", 5.0))
_TAPS = _TAPS.astype(np.float32)
# No interpolated sample is larger than the samples around it times this (2.24).
_MAX_GAIN = max(float(np.abs(_TAPS[phase::OVERSAMPLING]).sum()) for phase in range(OVERSAMPLING))


class TruePeak:
    """Running true peak of a signal of `channels` channels, over all of them; linear, 1.0 is full scale."""

    def __init__(self, channels: int) -> None:
        # Up to 20 samples that the next ones need as neighbours. Before the signal there is silence.
        self._history: Block = np.zeros((channels, _REACH), np.float32)
        self._peak = 0.0

    def push(self, block: Block) -> None:
        """Takes the next samples."""
        signal = np.concatenate([self._history, block], axis=1)
        self._peak = _peak_inside(signal, self._peak)
        self._history = signal[:, -min(2 * _REACH, signal.shape[1]) :].copy()

    def result(self) -> float:
        """The true peak if the signal ends here; more may follow."""
        silence = np.zeros((len(self._history), _REACH), np.float32)
        return _peak_inside(np.concatenate([self._history, silence], axis=1), self._peak)


def _peak_inside(signal: Block, peak: float) -> float:
    """The larger of `peak` and the true peak of `signal` without its first and last `_REACH` samples.

    Only sections that could beat the peak so far are interpolated: most of a song is passed over, and the
    result is the same.
    """
    length = signal.shape[1] - 2 * _REACH
    if length <= 0:
        return peak
    whole = length // _SECTION * _SECTION
    for section_length, start, end in ((_SECTION, 0, whole), (length - whole, whole, length)):
        if end == start:
            continue
        span = section_length + 2 * _REACH
        windows = sliding_window_view(signal[:, start : end + 2 * _REACH], span, axis=1)
        sections = windows[:, ::section_length].reshape(-1, span)
        largest = np.abs(sections).max(axis=1)
        first = sections[largest.argmax()]
        peak = max(peak, _interpolated_peak(first[np.newaxis]))
        peak = max(peak, _interpolated_peak(sections[largest * _MAX_GAIN > peak]))
    return peak


def _interpolated_peak(sections: Block) -> float:
    """True peak of sections `(count, samples)` without the first and last `_REACH` samples of each."""
    oversampled = upfirdn(_TAPS, sections, up=OVERSAMPLING, axis=1)
    first = 2 * _REACH * OVERSAMPLING  # half of it is the filter's delay
    end = first + (sections.shape[1] - 2 * _REACH) * OVERSAMPLING
    return float(np.abs(oversampled[:, first:end]).max(initial=0.0))


def reference_true_peak(signal: Block) -> float:
    """`TruePeak` of a whole signal by scipy itself."""
    if signal.size == 0:
        return 0.0
    return float(np.abs(resample_poly(signal, OVERSAMPLING, 1, axis=1)).max())
