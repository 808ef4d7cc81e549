"""Integrated loudness as a stream (ITU-R BS.1770), with the numbers of pyloudnorm, and the gains from it."""

import ctypes
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.job import Normalization
from contract.tracks import Track
from runner.kernels import LENGTH, POINTER, ROWS, kernel, rows
from runner.true_peak import TruePeak, reference_true_peak
from runner.waveform import Block, empty

CEILING_DBTP = -1.0
"""No track may pass this true peak after normalization."""
MAX_GAIN_DB = 20.0
"""`per_track` raises no track by more than this."""

_GATE_BLOCK_SECONDS = 0.4
_GATE_STEP = 0.25  # of a block: blocks overlap by 75 %
_HOPS_PER_BLOCK = 4
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_OFFSET_LU = -0.691

_k_weighted_energy = kernel(
    "k_weighted_energy", *ROWS, LENGTH, LENGTH, POINTER, POINTER, result=ctypes.c_double
)


@dataclass(frozen=True)
class Level:
    """How loud a track is: integrated loudness in LUFS and true peak (linear, 1.0 is full scale).

    `loudness` is None where the gates leave nothing: silence, and less than 0.4 s. Silence has true peak 0.
    """

    loudness: float | None
    true_peak: float


class Meter:
    """Measures one track of 1 or 2 channels while its blocks pass.

    State is fixed but for one number for each 100 ms, which the relative gate needs: 0.3 MB for an hour.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sample_rate = sample_rate
        self._filter = k_weighting(sample_rate)
        self._filter_state = np.zeros((len(self._filter), 2, 2))  # section, delay, channel
        self._hops = array("d")  # energy of each finished hop of 100 ms, summed over the channels
        self._open_hop = 0.0  # energy of the hop that the next sample belongs to
        self._frames = 0
        self._true_peak = TruePeak(channels)

    def push(self, block: Block) -> None:
        """Takes the next samples, `(channels, samples)`, each row in one piece of memory."""
        if block.shape[1] == 0:
            return
        self._true_peak.push(block)
        start = 0
        while start < block.shape[1]:
            hop_end = hop_bound(len(self._hops) + 1, self._sample_rate)
            end = min(start + hop_end - self._frames, block.shape[1])
            self._open_hop += self._energy(block[:, start:end])
            self._frames += end - start
            start = end
            if self._frames == hop_end:
                self._hops.append(self._open_hop)
                self._open_hop = 0.0

    def result(self) -> Level:
        """The level if the track ends here; more may follow."""
        hops = np.array([*self._hops, self._open_hop])
        loudness = gated_loudness(hops, self._frames, self._sample_rate)
        return Level(loudness, self._true_peak.result())

    def _energy(self, samples: Block) -> float:
        """Energy of the next samples, K-weighted, summed over the channels."""
        return float(
            _k_weighted_energy(
                *rows(samples), *samples.shape, self._filter.ctypes.data, self._filter_state.ctypes.data
            )
        )


def hop_bound(index: int, sample_rate: int) -> int:
    """First sample of hop `index`, rounded as pyloudnorm does: 100 ms need not be whole samples."""
    return int(_GATE_BLOCK_SECONDS * (index * _GATE_STEP) * sample_rate)


def gated_loudness(hops: NDArray[np.float64], frames: int, sample_rate: int) -> float | None:
    """Integrated loudness in LUFS from the K-weighted energy of each hop; None where the gates leave nothing.

    `hops` ends with the unfinished hop. ITU-R BS.1770-5, annex 1, equations 2 to 7, for channels of weight 1.
    """
    if frames < _GATE_BLOCK_SECONDS * sample_rate:
        return None
    seconds = frames / sample_rate
    blocks = round((seconds - _GATE_BLOCK_SECONDS) / (_GATE_BLOCK_SECONDS * _GATE_STEP)) + 1
    # Rounding may add a last block that the track does not fill: it ends with the unfinished hop.
    energy = np.lib.stride_tricks.sliding_window_view(hops, _HOPS_PER_BLOCK)[:blocks].sum(axis=1)
    power = energy / (_GATE_BLOCK_SECONDS * sample_rate)
    audible = power[power >= _power(_ABSOLUTE_GATE_LUFS)]
    if len(audible) == 0:
        return None
    gate = max(_power(_loudness(audible) + _RELATIVE_GATE_LU), _power(_ABSOLUTE_GATE_LUFS))
    loud = power[power > gate]
    return _loudness(loud) if len(loud) else None


def _loudness(power: NDArray[np.float64]) -> float:
    return _OFFSET_LU + 10 * math.log10(power.mean())


def _power(loudness: float) -> float:
    return math.pow(10, (loudness - _OFFSET_LU) / 10)


def k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """The two K-weighting stages as second-order sections `(2, 6)`.

    BS.1770 tabulates them for 48 kHz only. For any rate they are a high shelf (+4 dB above 1500 Hz,
    Q 1/√2) and a high pass (38 Hz, Q 1/2) by R. Bristow-Johnson's "Audio EQ Cookbook", as in pyloudnorm.
    """
    shelf = _high_shelf(4.0, math.sqrt(0.5), 1500.0, sample_rate)
    return np.array([shelf, _high_pass(0.5, 38.0, sample_rate)])


def _high_shelf(gain_db: float, q: float, frequency: float, sample_rate: int) -> NDArray[np.float64]:
    a = 10 ** (gain_db / 40)
    omega = 2 * math.pi * frequency / sample_rate
    cos, beta = math.cos(omega), math.sqrt(a) * math.sin(omega) / q
    b0 = a * (a + 1 + (a - 1) * cos + beta)
    b1 = -2 * a * (a - 1 + (a + 1) * cos)
    b2 = a * (a + 1 + (a - 1) * cos - beta)
    a0 = a + 1 - (a - 1) * cos + beta
    a1 = 2 * (a - 1 - (a + 1) * cos)
    a2 = a + 1 - (a - 1) * cos - beta
    return np.array([b0, b1, b2, a0, a1, a2]) / a0


def _high_pass(q: float, frequency: float, sample_rate: int) -> NDArray[np.float64]:
    omega = 2 * math.pi * frequency / sample_rate
    cos, alpha = math.cos(omega), math.sin(omega) / (2 * q)
    return np.array([(1 + cos) / 2, -1 - cos, (1 + cos) / 2, 1 + alpha, -2 * cos, 1 - alpha]) / (1 + alpha)


class ReferenceMeter:
    """`Meter` by pyloudnorm and scipy themselves: holds the whole track in memory."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sample_rate = sample_rate
        self._blocks = [empty(channels)]

    def push(self, block: Block) -> None:
        """Keeps the block."""
        self._blocks.append(block.copy())

    def result(self) -> Level:
        """The level of everything so far."""
        import pyloudnorm

        track = np.concatenate(self._blocks, axis=1)
        true_peak = reference_true_peak(track)
        if track.shape[1] < _GATE_BLOCK_SECONDS * self._sample_rate:
            return Level(None, true_peak)
        meter = pyloudnorm.Meter(self._sample_rate)
        loudness = float(meter.integrated_loudness(track.T.astype(np.float64)))
        return Level(loudness if math.isfinite(loudness) else None, true_peak)


def decide_gains(
    levels: Mapping[Track, Level], normalization: Normalization, target_lufs: float
) -> dict[Track, float]:
    """The gain of each track in dB (README, "Loudness").

    `linked` gives all tracks the gain that brings `main` to `target_lufs`, lowered until no track passes
    `CEILING_DBTP`; `per_track` judges each by itself and adds at most `MAX_GAIN_DB`. What has no loudness
    stays as it is.
    """
    match normalization:
        case Normalization.OFF:
            return dict.fromkeys(levels, 0.0)
        case Normalization.PER_TRACK:
            return {
                track: min(_gain([level], level, target_lufs), MAX_GAIN_DB) for track, level in levels.items()
            }
        case Normalization.LINKED:
            return dict.fromkeys(levels, _gain(list(levels.values()), levels[Track.MAIN], target_lufs))


def _gain(together: list[Level], measured: Level, target_lufs: float) -> float:
    """Gain in dB that brings `measured` to the target and none of `together` past the ceiling."""
    if measured.loudness is None:
        return 0.0
    headroom = [CEILING_DBTP - decibels(level.true_peak) for level in together if level.true_peak > 0]
    return min([target_lufs - measured.loudness, *headroom])


def decibels(amplitude: float) -> float:
    """A linear amplitude above 0 in dB of full scale."""
    return 20 * math.log10(amplitude)
