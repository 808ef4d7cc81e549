"""Songs are decoded whole or refused with `invalid_audio`, never cut or bent silently."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from contract.failures import FailureCode, JobFailed
from runner.audio_files import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, SongReader
from tests.runner.signals import Block, music, square, traced_peak

# Container and subtype as libsndfile calls them, file extension.
FORMATS = {
    "wav 8 bit": ("WAV", "PCM_U8", "wav"),
    "wav 16 bit": ("WAV", "PCM_16", "wav"),
    "wav 24 bit": ("WAV", "PCM_24", "wav"),
    "wav 32 bit": ("WAV", "PCM_32", "wav"),
    "wav float": ("WAV", "FLOAT", "wav"),
    "wav double": ("WAV", "DOUBLE", "wav"),
    "wav extensible": ("WAVEX", "PCM_24", "wav"),
    "rf64": ("RF64", "PCM_16", "wav"),
    "flac 16 bit": ("FLAC", "PCM_16", "flac"),
    "flac 24 bit": ("FLAC", "PCM_24", "flac"),
    "ogg vorbis": ("OGG", "VORBIS", "ogg"),
    "ogg opus": ("OGG", "OPUS", "ogg"),
    "mp3": ("MP3", "MPEG_LAYER_III", "mp3"),
}
CONTAINERS = ["wav 16 bit", "flac 16 bit", "ogg vorbis", "mp3"]
LOSSLESS_STEPS = {"wav 16 bit": 2**15, "wav 24 bit": 2**23, "flac 16 bit": 2**15, "flac 24 bit": 2**23}


def write(folder: Path, kind: str, song: Block, rate: int = 44_100) -> Path:
    container, subtype, extension = FORMATS[kind]
    path = folder / f"song.{extension}"
    with soundfile.SoundFile(path, "w", rate, len(song), subtype, format=container) as file:
        for start in range(0, song.shape[1], 8_000):  # libsndfile's Vorbis encoder dies of large blocks
            file.write(song[:, start : start + 8_000].T)
    return path


def read(path: Path, frames_per_block: int = 10_000) -> Block:
    return np.concatenate(list(SongReader(path).blocks(frames_per_block)), axis=1)


def refusal(path: Path) -> str:
    """The sentence with which a song is refused, on opening or while decoding."""
    with pytest.raises(JobFailed) as refused:
        read(path)
    assert refused.value.failure.code is FailureCode.INVALID_AUDIO
    assert refused.value.failure.error.endswith(".")
    assert "\n" not in refused.value.failure.error
    return refused.value.failure.error


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_read_whole(kind: str, channels: int, tmp_path: Path) -> None:
    rate = 48_000 if kind == "ogg opus" else 44_100
    song = music(rate + 321, channels, rate)
    path = write(tmp_path, kind, song, rate)
    reader = SongReader(path)

    blocks = list(reader.blocks(10_000))

    assert (reader.sample_rate, reader.channels, reader.frames) == (rate, channels, song.shape[1])
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    assert [block.shape for block in blocks[:-1]] == [(channels, 10_000)] * (len(blocks) - 1)
    decoded = np.concatenate(blocks, axis=1)
    np.testing.assert_array_equal(decoded.T, soundfile.read(path, dtype="float32", always_2d=True)[0])
    assert np.corrcoef(decoded[0], song[0])[0, 1] > 0.8  # and it is the song, in its place


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        (kind, rate)
        for kind in CONTAINERS
        for rate in (8_000, 22_050, 44_100, 48_000, 96_000)
        if kind != "mp3" or rate <= 48_000
    ],
)
def test_every_rate_is_read_whole(kind: str, rate: int, tmp_path: Path) -> None:
    reader = SongReader(write(tmp_path, kind, music(rate // 2, 2, rate), rate))

    assert (reader.sample_rate, reader.frames) == (rate, rate // 2)
    assert sum(block.shape[1] for block in reader.blocks()) == rate // 2


@pytest.mark.parametrize("kind", LOSSLESS_STEPS)
def test_lossless_formats_give_back_every_step(kind: str, tmp_path: Path) -> None:
    steps = LOSSLESS_STEPS[kind]
    song = np.round(music(20_000) * steps) / np.float32(steps)

    np.testing.assert_array_equal(read(write(tmp_path, kind, song)), song)


@pytest.mark.parametrize("kind", ["wav float", "wav 16 bit"])
def test_full_scale_is_1(kind: str, tmp_path: Path) -> None:
    decoded = read(write(tmp_path, kind, square(5_000)))

    np.testing.assert_allclose(decoded, square(5_000), rtol=0, atol=1 / 32_768)


def test_float_samples_beyond_full_scale_are_kept(tmp_path: Path) -> None:
    song = 32_768 * music(5_000)

    np.testing.assert_array_equal(read(write(tmp_path, "wav float", song)), song)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_pass_and_every_block_length_gives_the_same_samples(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, music(48_000, 2, 48_000), 48_000)
    reader = SongReader(path)
    first = np.concatenate(list(reader.blocks(65_536)), axis=1)

    for frames_per_block in (65_536, 1_000, 47_999):
        again = np.concatenate(list(reader.blocks(frames_per_block)), axis=1)
        np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize("frames", [1, 1_600])
def test_the_shortest_songs_are_songs(frames: int, tmp_path: Path) -> None:
    assert read(write(tmp_path, "wav 16 bit", music(frames, 1, 8_000), 8_000)).shape == (1, frames)


def test_the_name_of_the_file_does_not_matter(tmp_path: Path) -> None:
    song = music(1_000)
    path = write(tmp_path, "wav float", song).rename(tmp_path / 'Пісня — "x" (final).WAV')

    np.testing.assert_array_equal(read(path), song)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 70_000, 99_999])
def test_nan_and_infinity_are_refused(bad: float, at: int, tmp_path: Path) -> None:
    song = music(100_000)
    song[1, at] = bad

    assert "not numbers" in refusal(write(tmp_path, "wav float", song))


def test_absurd_samples_are_refused(tmp_path: Path) -> None:
    song = music(1_000)
    song[0, 500] = -3e38

    assert "beyond any audio level" in refusal(write(tmp_path, "wav float", song))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.667, 0.9, 0.97])
def test_a_body_cut_short_is_refused(kind: str, kept: float, tmp_path: Path) -> None:
    path = write(tmp_path, kind, music(96_000, 2, 48_000), 48_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])

    refusal(path)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("mp3", "rf64")])
@pytest.mark.parametrize("lost", [1, 2, 7, 100])
def test_not_even_the_last_bytes_may_be_missing(kind: str, lost: int, tmp_path: Path) -> None:
    path = write(tmp_path, kind, music(48_000, 2, 48_000), 48_000)
    path.write_bytes(path.read_bytes()[:-lost])

    refusal(path)


@pytest.mark.parametrize("kind", ["flac 16 bit", "ogg vorbis", "ogg opus", "mp3"])
@pytest.mark.parametrize("damage", ["zeros", "hole"])
def test_a_damaged_middle_is_refused(kind: str, damage: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, music(192_000, 2, 48_000), 48_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3_000] = bytes(3_000 if damage == "zeros" else 0)
    path.write_bytes(content)

    refusal(path)


def test_every_cut_of_a_header_is_refused_with_a_sentence(tmp_path: Path) -> None:
    for kind in CONTAINERS:
        path = write(tmp_path, kind, music(4_000, 2, 48_000), 48_000)
        content = path.read_bytes()
        for length in [0, 1, 3, 4, 8, 11, 12, 20, 40, 43, 44, 60, 100, 200]:
            path.write_bytes(content[:length])
            refusal(path)


@pytest.mark.parametrize("kind", ["wav 16 bit", "flac 16 bit", "ogg vorbis"])
@pytest.mark.parametrize("channels", [3, 6])
def test_more_than_two_channels_are_refused(kind: str, channels: int, tmp_path: Path) -> None:
    assert f"{channels} channels" in refusal(write(tmp_path, kind, music(1_000, channels)))


@pytest.mark.parametrize("kind", ["wav 16 bit", "wav float", "rf64"])
def test_a_song_without_samples_is_refused(kind: str, tmp_path: Path) -> None:
    assert "no samples" in refusal(write(tmp_path, kind, music(0)))


@pytest.mark.parametrize("rate", [MIN_SAMPLE_RATE - 1, MAX_SAMPLE_RATE + 1, 2_000_000_000])
def test_sample_rates_of_no_music_are_refused(rate: int, tmp_path: Path) -> None:
    assert "sample rate" in refusal(write(tmp_path, "wav 16 bit", music(1_000), rate))


@pytest.mark.parametrize("rate", [MIN_SAMPLE_RATE, 11_025, 192_000, MAX_SAMPLE_RATE])
def test_other_sample_rates_of_music_are_read(rate: int, tmp_path: Path) -> None:
    assert SongReader(write(tmp_path, "wav 16 bit", music(1_000), rate)).sample_rate == rate


@pytest.mark.parametrize("content", [b"", b"la la la\n" * 1_000, b"RIFF\x24\0\0\0WAVEfmt ", bytes(5_000)])
def test_what_is_no_audio_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(content)

    refusal(path)


def test_another_container_that_libsndfile_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, music(1_000).T, 44_100, format="AIFF")

    refusal(path)


def test_a_flac_of_unknown_length_is_counted(tmp_path: Path) -> None:
    """As encoders write it that stream: the total in the stream information is 0 (RFC 9639)."""
    song = np.round(music(100_000) * 32_768) / np.float32(32_768)
    path = write(tmp_path, "flac 16 bit", song)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)

    assert SongReader(path).frames == 100_000
    np.testing.assert_array_equal(read(path), song)


def test_a_wav_from_a_pipe_is_counted(tmp_path: Path) -> None:
    song = np.round(music(100_000) * 32_768) / np.float32(32_768)
    path = write(tmp_path, "wav 16 bit", song)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)

    assert SongReader(path).frames == 100_000
    np.testing.assert_array_equal(read(path), song)


def test_an_mp3_without_a_count_of_its_frames_is_read_to_its_end(tmp_path: Path) -> None:
    """With a variable bit rate its length can't be told from its size, and libsndfile guesses a quarter."""
    song = music(192_000, 2, 48_000)
    path = write(tmp_path, "mp3", song, 48_000)
    counted = read(path)
    path.write_bytes(without_first_mp3_frame(path.read_bytes()))
    reader = SongReader(path)

    decoded = np.concatenate(list(reader.blocks(10_000)), axis=1)

    assert reader.frames == decoded.shape[1]
    # Nothing tells how much of it is the encoder's delay and padding, so they are part of the song.
    delay = next(
        d for d in range(2_000) if np.abs(decoded[:, d : d + 2_000] - counted[:, :2_000]).max() < 1e-3
    )
    np.testing.assert_allclose(decoded[:, delay : delay + 192_000], counted, rtol=0, atol=1e-3)


def without_first_mp3_frame(content: bytes) -> bytes:
    """Cuts off the frame that holds the Xing tag: one of 128 kbit/s at 48 kHz, as libsndfile writes it."""
    length = 144 * 128_000 // 48_000
    assert content[:3] == content[length : length + 2] + b"\x94"
    assert b"Xing" in content[:length]
    return content[length:]


def test_memory_does_not_grow_with_the_song(tmp_path: Path) -> None:
    def song_of(frames: int) -> int:
        path = write(tmp_path, "flac 16 bit", square(frames))
        return traced_peak(lambda: [None for _ in SongReader(path).blocks(16_384)])

    assert song_of(1_600_000) < 1.1 * song_of(160_000)
