"""True peak is that of scipy's resample_poly, within the tolerance of EBU Tech 3341."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.signal import resample_poly

from runner.true_peak import TruePeak, reference_true_peak
from tests.runner.signals import Block, cut, music, square


def peak_of(track: Block, lengths: Sequence[int] = (65_536,)) -> float:
    meter = TruePeak(len(track))
    for block in cut(track, lengths):
        meter.push(block)
    return meter.result()


def scipys(track: Block) -> float:
    return float(np.abs(resample_poly(track.astype(np.float64), 4, 1, axis=1)).max())


@pytest.mark.parametrize("frames", [1, 2, 9, 10, 11, 19, 20, 21, 1003, 1004, 1023, 1024, 1025, 1044, 70_001])
@pytest.mark.parametrize("lengths", [[1, 17], [1024], [100_000]])
def test_equals_resample_poly_however_the_track_is_cut(frames: int, lengths: list[int]) -> None:
    for seed in range(3):
        track = 0.3 * np.random.default_rng(seed).standard_normal((2, frames)).astype(np.float32)

        assert peak_of(track, lengths) == pytest.approx(scipys(track), abs=1e-6)


@pytest.mark.parametrize("at", [0, 1, 9, 1000, 1023, 1024, 1025, 1999])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_peak_between_samples_is_found_wherever_it_is(at: int, channel: int) -> None:
    track = 0.2 * music(2_000)
    track[channel, at : at + 2] = 0.9  # between two equal samples the signal is higher

    peak = peak_of(track, [700])

    assert peak == pytest.approx(scipys(track), abs=1e-6)
    assert peak > 0.93 or at == 1999


def test_nothing_before_the_first_sample_counts() -> None:
    """An abrupt start rings before it too, here higher than anything after it."""
    samples = np.arange(200)
    track = ((-1.0) ** samples * 0.9**samples).astype(np.float32)[np.newaxis]

    assert peak_of(track, [70]) == pytest.approx(scipys(track), abs=1e-6)
    assert peak_of(np.pad(track, ((0, 0), (20, 0)))) > 1.02 * peak_of(track)


@pytest.mark.parametrize("loud_first", [True, False])
def test_passing_over_quiet_sections_changes_nothing(loud_first: bool) -> None:
    envelope = np.linspace(1, 0.01, 200_000, dtype=np.float32) ** 2
    track = music(200_000) * (envelope if loud_first else envelope[::-1])

    assert peak_of(track) == pytest.approx(scipys(track), abs=1e-6)


def test_full_scale_square_wave_overshoots() -> None:
    track = square(10_000)

    assert peak_of(track) == pytest.approx(scipys(track), abs=1e-6)
    assert peak_of(track) > 1.05


def test_the_reference_is_scipy_itself() -> None:
    track = music(5_000)

    assert reference_true_peak(track) == pytest.approx(scipys(track), abs=1e-6)
    assert reference_true_peak(track[:, :0]) == 0


@pytest.mark.parametrize("frames", [0, 5, 5_000])
def test_silence_has_no_peak(frames: int) -> None:
    assert peak_of(np.zeros((1, frames), np.float32)) == 0


# EBU Tech 3341, table 1, cases 15 to 19: samples per period, phase in degrees, amplitude, expected dBTP.
EBU_CASES = {
    15: (4, 0.0, 0.50, -6.0),
    16: (4, 45.0, 0.50, -6.0),
    17: (6, 60.0, 0.50, -6.0),
    18: (8, 67.5, 0.50, -6.0),
    19: (4, 45.0, 1.41, 3.0),
}


@pytest.mark.parametrize("case", EBU_CASES)
def test_ebu_tech_3341_sines_read_as_specified(case: int) -> None:
    period, phase, amplitude, expected = EBU_CASES[case]
    frames = np.arange(48_000)
    fade = np.clip(np.minimum(frames, frames[::-1]) / 4_800, 0, 1)
    sine = fade * amplitude * np.sin(2 * math.pi * frames / period + math.radians(phase))

    dbtp = 20 * math.log10(peak_of(np.tile(sine.astype(np.float32), (2, 1))))

    assert expected - 0.4 <= dbtp <= expected + 0.2
