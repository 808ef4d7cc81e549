"""Gains bring tracks to the target loudness and never past the ceiling."""

import math

import numpy as np
import pytest

from contract.job import Normalization
from contract.tracks import Track
from runner.loudness import CEILING_DBTP, Level, Meter, decibels, decide_gains
from tests.runner.signals import Block, music, square, tone

RATE = 44_100
SILENT = Level(None, 0.0)
LINKED, PER_TRACK, OFF = Normalization.LINKED, Normalization.PER_TRACK, Normalization.OFF


def level_of(track: Block) -> Level:
    meter = Meter(RATE, len(track))
    meter.push(track)
    return meter.result()


def song() -> dict[Track, Block]:
    """Nine tracks of different levels; `main` is among them."""
    return {track: 0.1 * (1 + index) * music(RATE, seed=index) for index, track in enumerate(Track)}


def with_gains(tracks: dict[Track, Block], gains: dict[Track, float]) -> dict[Track, Level]:
    return {
        track: level_of(samples * np.float32(10 ** (gains[track] / 20))) for track, samples in tracks.items()
    }


def levels_of(tracks: dict[Track, Block]) -> dict[Track, Level]:
    return {track: level_of(samples) for track, samples in tracks.items()}


@pytest.mark.parametrize("target", [-14.0, -23.0, -40.0])
def test_linked_brings_main_to_the_target_and_keeps_the_balance(target: float) -> None:
    tracks = {**song(), Track.MAIN: tone(1000, -8, 1, RATE)}

    gains = decide_gains(levels_of(tracks), LINKED, target)
    after = with_gains(tracks, gains)

    assert len(set(gains.values())) == 1
    assert after[Track.MAIN].loudness == pytest.approx(target, abs=0.1)
    assert max(level.true_peak for level in after.values()) <= 10 ** (CEILING_DBTP / 20)


@pytest.mark.parametrize("loudest", [Track.MAIN, Track.DRUMS, Track.MAIN_PERCUSSIVE])
def test_linked_stops_where_the_first_track_reaches_the_ceiling(loudest: Track) -> None:
    tracks = {track: 0.1 * samples for track, samples in song().items()}
    tracks[loudest][:, 20_000] = 0.9

    after = with_gains(tracks, decide_gains(levels_of(tracks), LINKED, -14.0))

    assert (after[Track.MAIN].loudness or 0.0) < -14.1
    assert decibels(max(level.true_peak for level in after.values())) == pytest.approx(CEILING_DBTP, abs=1e-3)


@pytest.mark.parametrize("target", [-20.0, -30.0])
def test_per_track_brings_each_to_the_target_on_its_own(target: float) -> None:
    tracks = song()

    gains = decide_gains(levels_of(tracks), PER_TRACK, target)

    assert len(set(gains.values())) == len(tracks)
    for level in with_gains(tracks, gains).values():
        assert level.loudness == pytest.approx(target, abs=0.1)


def test_per_track_keeps_the_ceiling_and_adds_20_db_at_most() -> None:
    tracks = {
        Track.MAIN: tone(1000, -60, 1, RATE),
        Track.DRUMS: square(RATE),
        Track.BASS: tone(100, -20, 1, RATE),
    }

    gains = decide_gains(levels_of(tracks), PER_TRACK, 0.0)

    assert gains[Track.MAIN] == 20.0
    assert gains[Track.DRUMS] < CEILING_DBTP  # a square wave overshoots between its samples
    after = with_gains(tracks, gains)
    assert decibels(after[Track.DRUMS].true_peak) == pytest.approx(CEILING_DBTP, abs=1e-3)
    assert decibels(after[Track.BASS].true_peak) == pytest.approx(CEILING_DBTP, abs=1e-3)


def test_off_leaves_every_track_alone() -> None:
    levels = {Track.MAIN: Level(-3.0, 1.4), Track.DRUMS: Level(-60.0, 0.001), Track.BASS: SILENT}

    assert decide_gains(levels, OFF, -14.0) == dict.fromkeys(levels, 0.0)


@pytest.mark.parametrize("normalization", Normalization)
def test_silence_and_very_short_songs_stay_as_they_are(normalization: Normalization) -> None:
    levels = {Track.MAIN: Level(None, 0.9999), Track.DRUMS: SILENT}

    assert decide_gains(levels, normalization, -14.0) == dict.fromkeys(levels, 0.0)


def test_a_silent_track_does_not_hold_the_others_back() -> None:
    levels = {Track.MAIN: Level(-20.0, 0.2), Track.VOCALS: SILENT}

    assert decide_gains(levels, LINKED, -14.0) == dict.fromkeys(levels, 6.0)
    assert decide_gains(levels, PER_TRACK, -14.0) == {Track.MAIN: 6.0, Track.VOCALS: 0.0}


@pytest.mark.parametrize("normalization", [LINKED, PER_TRACK])
def test_no_gain_ever_passes_target_or_ceiling(normalization: Normalization) -> None:
    random = np.random.default_rng(7)
    for _ in range(300):
        levels = {
            track: Level(float(random.uniform(-70, 3)), float(10 ** random.uniform(-4, 0.5)))
            for track in Track
        }
        target = float(random.uniform(-70, 0))

        gains = decide_gains(levels, normalization, target)

        assert list(gains) == list(levels)
        for track, gain in gains.items():
            assert math.isfinite(gain)
            assert decibels(levels[track].true_peak) + gain <= CEILING_DBTP + 1e-9
            loudness = levels[track if normalization is PER_TRACK else Track.MAIN].loudness
            assert loudness is not None
            assert loudness + gain <= target + 1e-9
