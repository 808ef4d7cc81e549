"""From the song's rate and channels to the network's and back."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from runner.audio_files import SongReader
from runner.separation import STEMS, Separator
from runner.stems import StemSplitter, measure_mix
from runner.waveform import Block
from tests.runner.signals import tone


class Through(torch.nn.Module):
    """A network whose every stem is a part of what it hears: the first half, the second a quarter, …"""

    sources = tuple(stem.value for stem in STEMS)
    samplerate = 44_100
    segment = 0.25
    audio_channels = 2

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.stack([mix / 2**number for number in (1, 2, 3, 3)], dim=1)


def split(path: Path, song: Block, rate: int) -> tuple[Block, Block]:
    soundfile.write(path, song.T, rate, subtype="FLOAT")
    reader = SongReader(path)
    splitter = StemSplitter(reader, Separator(Through(), "cpu", *measure_mix(reader, 44_100)), 44_100)
    parts = [splitter.push(block) for block in reader.blocks(5000)]
    parts.append(splitter.flush())
    stems, songs = zip(*parts, strict=True)
    assert all(stem.shape[2] == part.shape[1] for stem, part in parts)
    return np.concatenate(stems, axis=2), np.concatenate(songs, axis=1)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_keep_rate_channels_length_and_place(tmp_path: Path, rate: int, channels: int) -> None:
    """Stems that are parts of the song come back as those parts, up to the filters' ends."""
    song = tone(440, -6, 1.0, rate, channels)
    stems, same = split(tmp_path / "song.wav", song, rate)
    assert np.array_equal(same, song)
    assert stems.shape == (4, *song.shape)
    middle = slice(rate // 10, -rate // 10)
    for stem, share in zip(stems, (1 / 2, 1 / 4, 1 / 8, 1 / 8), strict=True):
        assert np.abs(stem - share * song)[:, middle].max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 44_100, 96_000])
@pytest.mark.parametrize("frames", [1, 2, 3, 100, 1600, 11_025])
def test_the_number_of_samples_is_kept_however_few_they_are(tmp_path: Path, rate: int, frames: int) -> None:
    song = np.full((2, frames), 0.25, np.float32)
    stems, same = split(tmp_path / "song.wav", song, rate)
    assert np.array_equal(same, song)
    assert stems.shape == (4, 2, frames)
    assert np.isfinite(stems).all()


def test_stereo_stays_apart(tmp_path: Path) -> None:
    song = np.concatenate([tone(440, -6, 0.5, 48_000, 1), np.zeros((1, 24_000), np.float32)])
    stems, _ = split(tmp_path / "song.wav", song, 48_000)
    assert np.abs(stems[:, 1]).max() < 1e-6
    assert np.abs(stems[0, 0]).max() > 0.2
