"""True peak (ITU-R BS.1770-5, annex 2): the largest sample of the signal at four times its sample rate.

Oracle: `scipy.signal.resample_poly(x, 4, 1)`, whose filter this is: a sinc under a Kaiser window (beta 5).
"""

import ctypes

import numpy as np
from numpy.typing import NDArray

from runner.kernels import LENGTH, POINTER, ROWS, kernel, rows
from runner.waveform import Block

OVERSAMPLING = 4
REACH = 10
"""How many samples on either side an interpolated sample depends on."""


def _filter_taps() -> NDArray[np.float64]:
    """Of each phase the factors of the samples around one, `(OVERSAMPLING, 2 REACH + 1)`."""
    distance = np.arange(-REACH * OVERSAMPLING, REACH * OVERSAMPLING + 1) / OVERSAMPLING
    taps = np.sinc(distance) * np.kaiser(len(distance), 5.0)
    # In float32, as scipy filters what is float32.
    scaled = (OVERSAMPLING * taps / taps.sum()).astype(np.float32).astype(np.float64)
    phases = np.zeros((OVERSAMPLING, 2 * REACH + 1))
    for phase, factors in enumerate(phases):
        own = scaled[phase::OVERSAMPLING][::-1]
        factors[-len(own) :] = own
    return phases


TAPS = _filter_taps()
_MAX_GAIN = float(np.abs(TAPS).sum(1).max())
"""No interpolated sample is larger than the samples around it times this (2.24)."""

_true_peak = kernel(
    "true_peak", *ROWS, LENGTH, LENGTH, POINTER, ctypes.c_double, ctypes.c_double, result=ctypes.c_double
)


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
    """The larger of `peak` and the true peak of `signal` without its first and last `REACH` samples."""
    channels, length = signal.shape[0], signal.shape[1] - 2 * REACH
    return float(_true_peak(*rows(signal), channels, length, TAPS.ctypes.data, _MAX_GAIN, peak))


def reference_true_peak(signal: Block) -> float:
    """`TruePeak` of a whole signal by scipy itself."""
    from scipy.signal import resample_poly

    if signal.size == 0:
        return 0.0
    return float(np.abs(resample_poly(signal, OVERSAMPLING, 1, axis=1)).max())
