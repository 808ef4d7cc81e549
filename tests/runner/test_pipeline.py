"""One song through all stages: what the nine tracks are, by definition and by number."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import soundfile
from numpy.typing import NDArray

from contract.stages import Status
from contract.tracks import ENCODINGS, OutputFormat, Track
from runner.separation import STEMS
from runner.waveform import Block
from tests.runner.separated import Separate
from tests.runner.signals import music, square
from tests.runner.test_separation import by_demucs, signal_to_error_db
from tests.runner.tiny_models import tiny_htdemucs

pytestmark = pytest.mark.usefixtures("restored_threads")

STEM_NAMES = (Track.VOCALS, Track.DRUMS, Track.BASS, Track.OTHER)


def greatest(signal: NDArray[np.floating[Any]]) -> float:
    return float(np.abs(signal).max())


def instrumental(tracks: Mapping[Track, Block]) -> Block:
    return tracks[Track.DRUMS] + tracks[Track.BASS] + tracks[Track.OTHER]


def loudness(track: Block, rate: int = 44_100) -> float:
    return float(pyloudnorm.Meter(rate).integrated_loudness(track.T.astype(np.float64)))


def test_the_stems_are_what_demucs_makes_of_the_song_and_exactly_so_by_the_reference_code(
    separate: Separate,
) -> None:
    song = music(150_000)
    streamed = separate(song, normalization="off").tracks
    reference = separate(song, settings={"dsp": "reference"}, normalization="off").tracks
    expected = by_demucs(tiny_htdemucs(), song)
    for stem, samples in zip(STEMS, expected, strict=True):
        assert np.array_equal(reference[stem], samples)
        assert signal_to_error_db(samples, streamed[stem]) > 100


def test_main_is_the_song_itself(separate: Separate) -> None:
    song = music(30_000)
    assert np.array_equal(separate(song, normalization="off").tracks[Track.MAIN], song)


@pytest.mark.parametrize("normalization", ["off", "linked"])
def test_harmonic_and_percussive_add_up(separate: Separate, normalization: str) -> None:
    tracks = separate(music(100_000), normalization=normalization).tracks
    of_song = tracks[Track.MAIN_HARMONIC] + tracks[Track.MAIN_PERCUSSIVE]
    of_instrumental = tracks[Track.HARMONIC] + tracks[Track.PERCUSSIVE]
    assert greatest(of_song - tracks[Track.MAIN]) < 1e-6
    assert greatest(of_instrumental - instrumental(tracks)) < 1e-6
    for track in Track:
        assert greatest(tracks[track]) > 1e-4


def test_the_residual_is_what_the_stems_leave_of_the_song(separate: Separate) -> None:
    song = music(60_000)
    result = separate(song, normalization="off")
    rest = song - sum(result.tracks[stem].astype(np.float64) for stem in STEM_NAMES)
    expected = 10 * np.log10(np.square(rest).sum() / np.square(song.astype(np.float64)).sum())
    assert result.finished.residual_db == pytest.approx(expected, abs=1e-6)


def test_with_minus_the_four_stems_are_the_song(separate: Separate) -> None:
    result = separate(music(60_000), other_method="minus")
    total = sum(result.tracks[stem].astype(np.float64) for stem in STEM_NAMES)
    assert greatest(total - result.tracks[Track.MAIN]) < 1e-6
    assert result.finished.residual_db is None or result.finished.residual_db < -120


def test_linked_brings_the_song_to_the_target_with_one_gain(separate: Separate) -> None:
    song = 0.2 * music(3 * 44_100)
    result = separate(song, target_lufs=-23.0)
    assert loudness(result.tracks[Track.MAIN]) == pytest.approx(-23.0, abs=0.1)
    assert len(set(result.finished.gains.values())) == 1
    factor = np.float32(10 ** (result.finished.gains[Track.MAIN] / 20))
    assert np.array_equal(result.tracks[Track.MAIN], song * factor)


def test_linked_stops_at_the_ceiling(separate: Separate) -> None:
    song = np.zeros((2, 2 * 44_100), np.float32)
    song[:, ::5000] = 0.9  # loud peaks, little loudness
    result = separate(song, target_lufs=0.0)
    peaks = {
        t: lv.true_peak * 10 ** (result.finished.gains[t] / 20) for t, lv in result.finished.levels.items()
    }
    assert 20 * np.log10(max(peaks.values())) == pytest.approx(-1.0, abs=0.01)
    assert loudness(result.tracks[Track.MAIN]) < -1.0


def test_per_track_brings_each_track_to_the_target_or_to_a_limit(separate: Separate) -> None:
    result = separate(music(2 * 44_100), normalization="per_track", target_lufs=-30.0)
    reached = 0
    for track in Track:
        level, gain = result.finished.levels[track], result.finished.gains[track]
        assert level.loudness is not None
        peak = 20 * np.log10(level.true_peak) + gain
        assert gain <= 20.0
        assert peak <= -1.0 + 1e-9
        if gain < 20.0 and peak < -1.0 - 1e-9:
            assert loudness(result.tracks[track]) == pytest.approx(-30.0, abs=0.1)
            reached += 1
    assert reached >= 2
    assert len(set(result.finished.gains.values())) > 2


def test_levels_are_those_of_the_tracks(separate: Separate) -> None:
    result = separate(music(60_000, channels=1, rate=22_050), rate=22_050, normalization="off")
    audible = 0
    for track, samples in result.tracks.items():
        measured, expected = result.finished.levels[track].loudness, loudness(samples, 22_050)
        if np.isfinite(expected):
            assert measured == pytest.approx(expected, abs=1e-6)
            audible += 1
        else:  # an untrained network's stem may lie below -70 LUFS
            assert measured is None
    assert audible >= 5


def test_silence_is_a_result(separate: Separate) -> None:
    result = separate(np.zeros((2, 44_100), np.float32))
    for track, samples in result.tracks.items():
        assert greatest(samples) < 1e-6
        assert result.finished.levels[track].loudness is None
        assert result.finished.gains[track] == 0.0
    assert greatest(result.tracks[Track.MAIN]) == 0.0
    assert result.finished.residual_db is None


@pytest.mark.parametrize("normalization", ["linked", "per_track"])
def test_a_fifth_of_a_second_is_a_result(separate: Separate, normalization: str) -> None:
    song = music(1600, channels=1, rate=8000)
    result = separate(song, rate=8000, normalization=normalization)
    assert {samples.shape for samples in result.tracks.values()} == {(1, 1600)}
    assert set(result.finished.gains.values()) == {0.0}
    assert np.array_equal(result.tracks[Track.MAIN], song)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22_050, 2), (48_000, 1), (96_000, 2)])
def test_tracks_have_the_song_s_rate_channels_and_length(
    separate: Separate, rate: int, channels: int
) -> None:
    frames = rate // 3 + 1
    result = separate(music(frames, channels, rate), rate=rate)
    assert {samples.shape for samples in result.tracks.values()} == {(channels, frames)}
    assert {soundfile.info(written.file.path).samplerate for written in result.finished.files.values()} == {
        rate
    }
    assert (result.finished.sample_rate, result.finished.frames) == (rate, frames)


@pytest.mark.parametrize("wanted", OutputFormat)
def test_every_format_holds_the_same_tracks(separate: Separate, wanted: OutputFormat) -> None:
    song = music(20_000)
    exact = separate(song).tracks
    result = separate(song, output_format=wanted)
    step = 2.0 ** -(ENCODINGS[wanted].bits - 1) if ENCODINGS[wanted].integer else 0.0
    for track, samples in result.tracks.items():
        assert greatest(samples - exact[track]) <= 0.501 * step
        assert result.finished.files[track].file.path.suffix == f".{ENCODINGS[wanted].extension}"


@pytest.mark.parametrize(
    ("extension", "subtype"),
    [("flac", "PCM_24"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III"), ("wav", "PCM_U8")],
)
def test_every_kind_of_song_is_taken(separate: Separate, extension: str, subtype: str) -> None:
    song = music(44_100)
    result = separate(song, file=(extension, subtype))
    assert result.finished.frames == 44_100
    assert greatest(result.tracks[Track.MAIN]) > 0.1


def test_samples_that_a_format_cannot_hold_are_counted(separate: Separate) -> None:
    song = square(20_000)
    song[:, 5000:5100] *= 2
    result = separate(song, normalization="off", output_format="wav")
    positive = int((song >= 1).sum())  # +1.0 itself is one step beyond a 16-bit number
    negative = int((song < -1).sum())
    assert result.finished.files[Track.MAIN].clipped == positive + negative
    assert any(f"{positive + negative} samples of main" in warning for warning in result.finished.warnings)


def test_stages_begin_and_end_in_order(separate: Separate) -> None:
    reports = separate(music(50_000)).reports
    last = reports[-1].stages
    assert [stage.status for stage in last] == [Status.COMPLETED] * 3 + [Status.PROCESSING]
    begun = [stage.started_at for stage in last]
    assert None not in begun
    assert begun == sorted(begun, key=str)
    ended = [stage.completed_at for stage in last[:3]]
    assert ended == sorted(ended, key=str)
    assert begun[3] is not None
    assert ended[2] is not None
    assert begun[3] >= ended[2]
    for report in reports:
        order = [stage.status is not Status.PENDING for stage in report.stages]
        assert order == sorted(order, reverse=True)
    fractions = [report.progress for report in reports]
    assert fractions == sorted(fractions)


def test_the_reference_code_gives_the_same_tracks(separate: Separate) -> None:
    song = music(60_000)
    streamed = separate(song)
    reference = separate(song, settings={"dsp": "reference"})
    for track in Track:
        assert greatest(streamed.tracks[track] - reference.tracks[track]) < 5e-6
        assert streamed.finished.gains[track] == pytest.approx(reference.finished.gains[track], abs=1e-5)


def test_in_16_bits_no_sample_is_more_than_a_step_from_the_reference_code_s(separate: Separate) -> None:
    song = music(60_000)
    streamed = separate(song, output_format="wav")
    reference = separate(song, settings={"dsp": "reference"}, output_format="wav")
    for track in Track:
        assert greatest(streamed.tracks[track] - reference.tracks[track]) <= 2.0**-15
