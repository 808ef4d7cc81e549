"""Loudness is pyloudnorm's and the standards', whatever the rate and however the track is cut into blocks."""

import math
from collections.abc import Sequence

import numpy as np
import pyloudnorm
import pytest

from runner.loudness import Level, Meter, ReferenceMeter
from tests.runner.signals import Block, cut, music, square, tone, traced_peak

EQUAL = 1e-6
"""LU."""
STANDARD = 0.1
"""LU: what ITU-R BS.2217 and EBU Tech 3341 allow a meter."""

RATES = [8_000, 11_025, 22_050, 32_000, 44_100, 44_101, 48_000, 96_000]


def measured(track: Block, rate: int, lengths: Sequence[int] = (65_536,)) -> Level:
    meter = Meter(rate, len(track))
    for block in cut(track, lengths):
        meter.push(block)
    return meter.result()


def loudness_of(track: Block, rate: int = 48_000) -> float:
    loudness = measured(track, rate).loudness
    assert loudness is not None
    return loudness


def pyloudnorms(track: Block, rate: int) -> float:
    return float(pyloudnorm.Meter(rate).integrated_loudness(track.T.astype(np.float64)))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
# pyloudnorm rounds the number of blocks: 0.45 s ends within a block, 0.46 s begins a block beyond the end.
@pytest.mark.parametrize("seconds", [0.4, 0.45, 0.46, 0.55, 3.217])
def test_loudness_equals_pyloudnorms(rate: int, channels: int, seconds: float) -> None:
    track = music(math.ceil(seconds * rate), channels, rate)
    track *= np.linspace(0, 1, track.shape[1], dtype=np.float32) ** 3  # both gates have something to do

    assert loudness_of(track, rate) == pytest.approx(pyloudnorms(track, rate), abs=EQUAL)


def test_the_gates_work_as_pyloudnorms() -> None:
    parts = [tone(300, level, 1.13, 44_100) for level in (-80, -20, -90, -27, -31, -34, -60, -71)]
    track = np.concatenate(parts, axis=1)

    assert loudness_of(track, 44_100) == pytest.approx(pyloudnorms(track, 44_100), abs=EQUAL)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
@pytest.mark.parametrize("lengths", [[1, 700, 3], [4_410], [17, 0, 30_000], [200_000]])
def test_how_the_track_is_cut_does_not_matter(rate: int, lengths: list[int]) -> None:
    track = music(3 * rate + 77, 2, rate)

    level = measured(track, rate, lengths)

    assert level.loudness == pytest.approx(loudness_of(track, rate), abs=1e-9)
    assert level.true_peak == pytest.approx(measured(track, rate).true_peak, abs=1e-9)


@pytest.mark.parametrize("rate", RATES)
def test_full_scale_square_wave_equals_pyloudnorm(rate: int) -> None:
    track = square(rate)

    assert loudness_of(track, rate) == pytest.approx(pyloudnorms(track, rate), abs=EQUAL)


# EBU Tech 3341, table 1, cases 1 to 5: seconds and level of a stereo sine of 1000 Hz, and what a meter says.
EBU_CASES: dict[int, tuple[list[tuple[float, float]], float]] = {
    1: ([(20, -23)], -23),
    2: ([(20, -33)], -33),
    3: ([(10, -36), (60, -23), (10, -36)], -23),
    4: ([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -23),
    5: ([(20, -26), (20.1, -20), (20, -26)], -23),
}


@pytest.mark.parametrize("case", EBU_CASES)
def test_ebu_tech_3341_sequences_read_as_specified(case: int) -> None:
    parts, expected = EBU_CASES[case]
    track = np.concatenate([tone(1000, dbfs, seconds, 48_000) for seconds, dbfs in parts], axis=1)

    assert loudness_of(track) == pytest.approx(expected, abs=STANDARD)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("lufs", [-23, -24])
def test_a_stereo_tone_reads_its_level_at_every_rate_of_music(rate: int, lufs: int) -> None:
    assert loudness_of(tone(1000, lufs, 5, rate), rate) == pytest.approx(lufs, abs=STANDARD)


def test_a_full_scale_tone_in_one_channel_reads_3_lu_less() -> None:
    """BS.1770, annex 1: a sine of 997 Hz at 0 dBFS in the left channel reads -3.01 LKFS."""
    track = tone(997, 0, 5, 48_000)
    track[1] = 0

    assert loudness_of(track) == pytest.approx(-3.01, abs=STANDARD)
    assert loudness_of(track[:1]) == pytest.approx(-3.01, abs=STANDARD)


# Response of BS.1770's two filters, from the coefficients that it tabulates for 48 kHz, in dB.
K_WEIGHTING_DB = {25: -10.393, 100: -1.133, 500: 0.042, 1000: 0.698, 2000: 3.071, 10_000: 4.042}


@pytest.mark.parametrize("frequency", K_WEIGHTING_DB)
def test_k_weighting_has_the_response_of_the_standard(frequency: int) -> None:
    """As the frequency response tests of ITU-R BS.2217: one tone after another at -24 dBFS."""
    expected = -24 - 0.691 + K_WEIGHTING_DB[frequency]

    assert loudness_of(tone(frequency, -24, 10, 48_000)) == pytest.approx(expected, abs=STANDARD)


without_loudness = pytest.mark.parametrize(
    "track",
    [
        np.zeros((2, 0), np.float32),
        np.zeros((2, 100_000), np.float32),
        tone(1000, -20, 0.399, 44_100),
        tone(1000, -75, 2, 44_100),
    ],
    ids=["nothing", "silence", "under 0.4 s", "below the absolute gate"],
)


@pytest.mark.parametrize("meter_class", [Meter, ReferenceMeter])
@without_loudness
def test_what_the_gates_leave_nothing_of_has_no_loudness(
    meter_class: type[Meter | ReferenceMeter], track: Block
) -> None:
    meter = meter_class(44_100, 2)
    meter.push(track)

    level = meter.result()

    assert level.loudness is None
    assert level.true_peak == pytest.approx(np.abs(track).max(initial=0), rel=0.01)


def test_a_result_may_be_asked_for_again_and_the_track_go_on() -> None:
    track = music(60_000)
    meter = Meter(44_100, 2)
    meter.push(track[:, :30_011])
    meter.result()
    meter.push(track[:, 30_011:])

    assert meter.result() == meter.result()
    assert meter.result().loudness == pytest.approx(loudness_of(track, 44_100), abs=1e-9)
    assert meter.result().true_peak == measured(track, 44_100).true_peak


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_after_sound_leaves_no_denormal_numbers(channels: int) -> None:
    meter = Meter(44_100, channels)
    track = music(44_100, channels)
    meter.push(track)
    track[0] = 0  # the other channel goes on
    for _ in range(10):
        meter.push(track)

    state = np.abs(meter._filter_state.view(np.float64))

    assert not np.any((state > 0) & (state < np.finfo(np.float64).tiny))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_the_reference_meter_agrees(rate: int) -> None:
    track = music(2 * rate, 2, rate)
    reference = ReferenceMeter(rate, 2)
    for block in cut(track, [10_000]):
        reference.push(block)
        block[:] = np.nan

    assert reference.result().loudness == pytest.approx(loudness_of(track, rate), abs=EQUAL)
    assert reference.result().true_peak == pytest.approx(measured(track, rate).true_peak, abs=EQUAL)


def test_blocks_are_not_changed() -> None:
    block = music(10_000)
    before = block.copy()

    Meter(44_100, 2).push(block)

    np.testing.assert_array_equal(block, before)


def test_memory_does_not_grow_with_the_track() -> None:
    block = music(65_536)

    def track_of(blocks: int) -> int:
        meter = Meter(44_100, 2)

        def measure() -> None:
            for _ in range(blocks):
                meter.push(block)
            meter.result()

        return traced_peak(measure)

    assert track_of(120) < 1.05 * track_of(12)
