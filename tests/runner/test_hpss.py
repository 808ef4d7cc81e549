"""The streaming HPSS is librosa's, whatever the length and however the song is cut into blocks."""

from collections.abc import Sequence

import librosa
import numpy as np
import pytest

from runner.hpss import HarmonicPercussive, Hpss, ReferenceHpss
from tests.runner.signals import Block, cut, music, square, tone, traced_peak

TOLERANCE = 2e-6
"""At full scale; what another FFT's rounding may cost."""

# A frame each 512 samples: less than a window, exact windows, one chunk of 256 frames and just around it.
LENGTHS = [1, 2, 100, 511, 1536, 1600, 2047, 2048, 2049, 20_000, 132_607, 132_608, 139_776, 300_001]


def harmonic(song: Block, lengths: Sequence[int] = (65_536,)) -> Block:
    stream = Hpss(len(song))
    return np.concatenate([*map(stream.push, cut(song, lengths)), stream.flush()], axis=1)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
@pytest.mark.parametrize("frames", LENGTHS)
def test_both_parts_equal_librosas(frames: int) -> None:
    song = music(frames)
    stream = HarmonicPercussive(2)
    blocks = [*map(stream.push, cut(song, [50_000])), stream.flush()]
    parts = [np.concatenate(part, axis=1) for part in zip(*blocks, strict=True)]

    for channel in range(2):
        expected = librosa.effects.hpss(song[channel])
        np.testing.assert_allclose(parts[0][channel], expected[0], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(parts[1][channel], expected[1], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(parts[2], song)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate_and_channel_count_equals_librosa(rate: int, channels: int) -> None:
    song = music(int(0.7 * rate), channels, rate)

    expected = np.stack([librosa.effects.hpss(channel)[0] for channel in song])

    np.testing.assert_allclose(harmonic(song), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
@pytest.mark.parametrize("frames", [512, 700, 1023, 1024, 1535])
def test_two_and_three_frames_are_mirrored_as_often_as_it_takes(
    frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = music(frames, 1)

    np.testing.assert_allclose(harmonic(song)[0], by_definition(song[0], monkeypatch), rtol=0, atol=TOLERANCE)


def by_definition(signal: Block, monkeypatch: pytest.MonkeyPatch) -> Block:
    """Librosa's harmonic part, but medians by their definition: scipy's reads outside two or three frames."""
    monkeypatch.setattr(librosa.decompose, "median_filter", median_by_definition)
    part: Block = librosa.effects.hpss(signal)[0]
    return part


@pytest.mark.parametrize("frames", [512, 600, 700, 1023])
def test_the_reference_does_not_read_outside_its_input_either(frames: int) -> None:
    song = music(frames, 1)
    reference = ReferenceHpss(1)
    reference.push(song)

    np.testing.assert_allclose(reference.flush(), harmonic(song), rtol=0, atol=TOLERANCE)


def median_by_definition(values: Block, size: Sequence[int], mode: str) -> Block:
    assert mode == "reflect"
    padded = np.pad(values, [(length // 2, length // 2) for length in size], mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(size))
    return np.median(windows, axis=(-2, -1)).astype(np.float32)


@pytest.mark.parametrize("lengths", [[1, 511, 70_001], [100_000, 0, 3], [131_072], [400_000]])
def test_how_the_song_is_cut_changes_no_bit(lengths: list[int]) -> None:
    song = music(290_000)

    np.testing.assert_array_equal(harmonic(song, lengths), harmonic(song))


def test_a_loud_song_is_as_exact_as_its_scale_allows() -> None:
    song = 1000 * music(30_000, 1)

    expected = librosa.effects.hpss(song[0])[0]

    np.testing.assert_allclose(harmonic(song)[0], expected, rtol=0, atol=1000 * TOLERANCE)


def test_a_square_wave_at_full_scale_equals_librosas() -> None:
    song = square(30_000, 1)

    expected = librosa.effects.hpss(song[0])[0]

    np.testing.assert_allclose(harmonic(song)[0], expected, rtol=0, atol=TOLERANCE)


def test_silence_stays_silence() -> None:
    np.testing.assert_array_equal(harmonic(np.zeros((2, 200_000), np.float32)), 0)


def test_silence_around_a_burst_equals_librosa() -> None:
    song = np.zeros((1, 250_000), np.float32)
    song[:, 120_000:125_000] = music(5_000, 1)

    expected = librosa.effects.hpss(song[0])[0]

    np.testing.assert_allclose(harmonic(song)[0], expected, rtol=0, atol=TOLERANCE)


def test_no_samples_give_no_samples() -> None:
    assert harmonic(np.zeros((2, 0), np.float32)).shape == (2, 0)
    assert ReferenceHpss(2).flush().shape == (2, 0)


def test_the_parts_are_always_of_one_length_and_add_up_to_the_input() -> None:
    song = music(200_000)
    stream = HarmonicPercussive(2)

    for steady, struck, original in [*map(stream.push, cut(song, [40_000])), stream.flush()]:
        assert steady.shape == struck.shape == original.shape
        np.testing.assert_allclose(steady + struck, original, rtol=0, atol=1e-7)


def test_a_tone_is_harmonic_and_clicks_are_percussive() -> None:
    sustained = tone(440, -12, 2, 44_100, 1)
    clicks = np.zeros_like(sustained)
    clicks[:, 5_000::11_025] = 0.5
    stream = HarmonicPercussive(1)
    stream.push(sustained + clicks)

    steady, struck, _ = stream.flush()

    middle = slice(8_000, 80_000)
    assert np.square(steady - sustained)[:, middle].sum() < 0.05 * np.square(sustained)[:, middle].sum()
    assert np.square(struck - clicks)[:, middle].sum() < 0.5 * np.square(clicks)[:, middle].sum()


def test_blocks_are_neither_changed_nor_kept() -> None:
    song = music(150_000)
    expected = harmonic(song)
    stream = HarmonicPercussive(2)
    output = []
    for block in cut(song, [30_000]):
        before = block.copy()
        output.append(stream.push(block)[0])
        np.testing.assert_array_equal(block, before)
        block[:] = np.nan
    output.append(stream.flush()[0])

    np.testing.assert_array_equal(np.concatenate(output, axis=1), expected)


def test_the_reference_has_the_same_interface_and_result() -> None:
    song = music(40_000)
    stream = HarmonicPercussive(2, ReferenceHpss(2))

    blocks = []
    for block in cut(song, [15_000]):
        blocks.append(stream.push(block))
        block[:] = np.nan
    blocks.append(stream.flush())

    steady = np.concatenate([block[0] for block in blocks], axis=1)
    np.testing.assert_allclose(steady, harmonic(song), rtol=0, atol=TOLERANCE)


def test_memory_does_not_grow_with_the_song() -> None:
    block = music(65_536, 1)

    def song_of(blocks: int) -> int:
        stream = HarmonicPercussive(1)

        def separate() -> None:
            for _ in range(blocks):
                stream.push(block)

        return traced_peak(separate)

    assert song_of(32) < 1.05 * song_of(8)
