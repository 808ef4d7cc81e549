"""The HPSS of a GPU is librosa's, whatever the length and however the song is cut into blocks."""

from collections.abc import Sequence

import librosa
import numpy as np
import pytest

from runner.gpu import hpss
from runner.gpu.hpss import GpuHpss
from tests.runner.gpu.devices import DEVICE
from tests.runner.signals import Block, cut, music
from tests.runner.test_hpss import TOLERANCE, by_definition

CHUNK = 64
"""Frames, so that a short song has several."""
# A frame each 512 samples. A chunk ends when the frame 15 after it is heard.
LENGTHS = [1, 511, 2047, 2048, 20_000, 40_959, 40_960, 48_128, 100_001]


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpss, "CHUNK_FRAMES", CHUNK)


def harmonic(song: Block, lengths: Sequence[int] = (65_536,)) -> Block:
    stream = GpuHpss(len(song), DEVICE)
    return np.concatenate([*map(stream.push, cut(song, lengths)), stream.flush()], axis=1)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
@pytest.mark.parametrize("frames", LENGTHS)
def test_it_equals_librosas(frames: int) -> None:
    song = music(frames)
    expected = np.stack([librosa.effects.hpss(channel)[0] for channel in song])
    np.testing.assert_allclose(harmonic(song), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("chunk", [15, 16, 512])
def test_where_chunks_end_does_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    song = music(100_000)
    expected = harmonic(song)
    monkeypatch.setattr(hpss, "CHUNK_FRAMES", chunk)
    np.testing.assert_allclose(harmonic(song), expected, rtol=0, atol=TOLERANCE / 10)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
@pytest.mark.parametrize("frames", [512, 1023, 1024, 1535])
def test_two_and_three_frames_are_mirrored_as_often_as_it_takes(
    frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = music(frames, 1)
    np.testing.assert_allclose(harmonic(song)[0], by_definition(song[0], monkeypatch), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("lengths", [[1, 511, 50_001], [100_000, 0, 3], [600_000]])
def test_how_the_song_is_cut_changes_no_bit(lengths: list[int]) -> None:
    song = music(180_000)
    np.testing.assert_array_equal(harmonic(song, lengths), harmonic(song))


def test_silence_around_a_burst_equals_librosa() -> None:
    song = np.zeros((1, 150_000), np.float32)
    song[:, 60_000:65_000] = music(5_000, 1)
    expected = librosa.effects.hpss(song[0])[0]
    np.testing.assert_allclose(harmonic(song)[0], expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(harmonic(np.zeros((2, 100_000), np.float32)), 0)


def test_no_samples_give_no_samples() -> None:
    assert harmonic(np.zeros((2, 0), np.float32)).shape == (2, 0)


def test_blocks_are_neither_changed_nor_kept() -> None:
    song = music(120_000)
    expected = harmonic(song)
    stream = GpuHpss(2, DEVICE)
    output = []
    for block in cut(song, [30_000]):
        before = block.copy()
        output.append(stream.push(block))
        np.testing.assert_array_equal(block, before)
        block[:] = np.nan
    np.testing.assert_array_equal(np.concatenate([*output, stream.flush()], axis=1), expected)
