"""Sample rates, channel counts and waiting frames."""

import numpy as np
import pytest
import soxr

from runner.waveform import Block, Fifo, Resampler, to_channels, to_stereo


def noise(channels: int, frames: int) -> Block:
    return np.random.default_rng(1).standard_normal((channels, frames)).astype(np.float32)


def streamed(song: Block, rate_in: int, rate_out: int, block_frames: int, total: int | None = None) -> Block:
    resampler = Resampler(song.shape[0], rate_in, rate_out)
    starts = range(0, song.shape[1], block_frames)
    results = [resampler.push(song[:, start : start + block_frames]) for start in starts]
    return np.concatenate([*results, resampler.flush(total)], axis=1)


@pytest.mark.parametrize(
    "rates", [(8000, 44_100), (44_100, 8000), (48_000, 44_100), (44_100, 96_000), (11_025, 44_100)]
)
@pytest.mark.parametrize("frames", [10, 1600, 20_001])
def test_a_resampled_stream_equals_the_whole_resampled_at_once(rates: tuple[int, int], frames: int) -> None:
    song = noise(2, frames)
    whole = soxr.resample(song.T, *rates).T
    for block_frames in (7, 4096, 30_000):
        assert np.array_equal(streamed(song, *rates, block_frames, total=whole.shape[1]), whole)


@pytest.mark.parametrize(("frames", "expected"), [(0, 0), (1, 6), (2, 11), (1600, 8820)])
def test_the_length_is_the_rounded_ratio(frames: int, expected: int) -> None:
    assert streamed(noise(1, frames), 8000, 44_100, 512).shape == (1, expected)


def test_a_length_that_is_asked_for_is_kept() -> None:
    """48 kHz to 44.1 kHz and back: each way may be one frame off."""
    for frames in (1, 2, 999, 1000, 1001, 1002):
        song = noise(2, frames)
        there = streamed(song, 96_000, 44_100, 100)
        assert streamed(there, 44_100, 96_000, 100, total=frames).shape == (2, frames)


def test_equal_rates_change_nothing() -> None:
    song = noise(2, 5000)
    assert np.array_equal(streamed(song, 44_100, 44_100, 999), song)


def test_resampling_keeps_a_tone_where_it_is() -> None:
    """No delay: a 1 kHz tone at 8 kHz is the same 1 kHz tone at 44.1 kHz, up to the filter's ends."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000, dtype=np.float64).astype(np.float32)[None]
    result = streamed(tone, 8000, 44_100, 1000)[0]
    expected = np.sin(2 * np.pi * 1000 * np.arange(44_100) / 44_100)
    assert np.abs(result - expected)[4410:-4410].max() < 1e-4


def test_mono_is_doubled_and_stereo_is_averaged() -> None:
    mono, stereo = noise(1, 10), noise(2, 10)
    assert np.array_equal(to_stereo(mono), np.concatenate([mono, mono]))
    assert np.array_equal(to_channels(stereo, 1)[0], (stereo[0] + stereo[1]) / np.float32(2))
    assert to_channels(stereo, 2) is stereo
    assert to_channels(stereo, 1).dtype == np.float32


def test_a_fifo_gives_frames_in_the_order_in_which_they_came() -> None:
    song = noise(2, 100)
    fifo = Fifo(2)
    for start in range(0, 100, 13):
        fifo.push(song[:, start : start + 13])
    parts = [fifo.pull(frames) for frames in (0, 1, 30, 12, 57)]
    assert np.array_equal(np.concatenate(parts, axis=1), song)
    assert fifo.frames == 0
    with pytest.raises(ValueError):
        fifo.pull(1)
