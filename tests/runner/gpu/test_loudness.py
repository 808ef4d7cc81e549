"""Loudness and true peak of a GPU are pyloudnorm's and scipy's, however the track is cut into blocks."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from runner.gpu.loudness import GpuMeter
from runner.loudness import Level
from tests.runner.gpu.devices import DEVICE
from tests.runner.signals import Block, cut, music, square, tone
from tests.runner.test_loudness import EQUAL, RATES, pyloudnorms, without_loudness
from tests.runner.test_true_peak import scipys


def measured(track: Block, rate: int = 44_100, lengths: Sequence[int] = (65_536,)) -> Level:
    meter = GpuMeter(rate, len(track), DEVICE)
    for block in cut(track, lengths):
        meter.push(block)
    return meter.result()


@pytest.mark.parametrize("rate", [*RATES, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.4, 0.45, 0.46, 1.217])
def test_loudness_and_true_peak_are_those_of_the_oracles(rate: int, channels: int, seconds: float) -> None:
    track = music(math.ceil(seconds * rate), channels, rate)
    track *= np.linspace(0, 1, track.shape[1], dtype=np.float32) ** 3  # both gates have something to do
    level = measured(track, rate)
    assert level.loudness == pytest.approx(pyloudnorms(track, rate), abs=EQUAL)
    assert level.true_peak == pytest.approx(scipys(track), abs=1e-6)


def test_the_gates_work_as_pyloudnorms() -> None:
    parts = [tone(300, level, 1.13, 44_100) for level in (-80, -20, -90, -27, -31, -34, -60, -71)]
    track = np.concatenate(parts, axis=1)
    assert measured(track, lengths=[500_000]).loudness == pytest.approx(pyloudnorms(track, 44_100), abs=EQUAL)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
@pytest.mark.parametrize("lengths", [[1, 700, 3], [4_410], [17, 0, 30_000], [200_000]])
def test_how_the_track_is_cut_does_not_matter(rate: int, lengths: list[int]) -> None:
    track = music(rate + 77, 2, rate)
    level, expected = measured(track, rate, lengths), measured(track, rate)
    assert level.loudness == pytest.approx(expected.loudness, abs=1e-9)
    assert level.true_peak == pytest.approx(expected.true_peak, abs=1e-12)


@pytest.mark.parametrize("frames", [1, 9, 10, 11, 31, 32, 33, 52, 1003, 7_001])
@pytest.mark.parametrize("lengths", [[1, 17], [1024], [100_000]])
def test_the_true_peak_equals_resample_poly_however_the_track_is_cut(frames: int, lengths: list[int]) -> None:
    noise = 0.3 * np.random.default_rng(frames).standard_normal((2, min(frames, 2_000))).astype(np.float32)
    track = np.pad(noise, ((0, 0), (frames - noise.shape[1], 0)))
    assert measured(track, lengths=lengths).true_peak == pytest.approx(scipys(track), abs=1e-6)


@pytest.mark.parametrize("at", [0, 31, 32, 1999])
def test_a_peak_between_samples_is_found_wherever_it_is(at: int) -> None:
    track = 0.2 * music(2_000)
    track[1, at : at + 2] = 0.9  # between two equal samples the signal is higher
    assert measured(track, lengths=[700]).true_peak == pytest.approx(scipys(track), abs=1e-6)


def test_what_would_ring_after_the_last_sample_does_not_count() -> None:
    track = square(10_000)
    assert measured(track).true_peak == pytest.approx(scipys(track), abs=1e-6)


@without_loudness
def test_what_the_gates_leave_nothing_of_has_no_loudness(track: Block) -> None:
    level = measured(track)
    assert level.loudness is None
    assert level.true_peak == pytest.approx(np.abs(track).max(initial=0), rel=0.01)


def test_a_result_may_be_asked_for_again_and_the_track_go_on() -> None:
    track = music(60_000)
    before = track.copy()
    meter = GpuMeter(44_100, 2, DEVICE)
    meter.push(track[:, :30_011])
    meter.result()
    meter.push(track[:, 30_011:])
    assert meter.result() == meter.result()
    assert meter.result().loudness == pytest.approx(measured(track).loudness, abs=1e-9)
    assert meter.result().true_peak == measured(track).true_peak
    np.testing.assert_array_equal(track, before)
