"""Tracks are written exactly, counted where they clip, and in the same bytes every time."""

import errno
import hashlib
import math
import resource
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from contract.audio_header import HEAD_BYTES, read_header
from contract.failures import FailureCode, JobFailed
from contract.tracks import ENCODINGS, OutputFormat
from runner.audio_files import MAX_RIFF_BYTES, SongReader, TrackWriter
from runner.checksums import WrittenFile
from tests.runner.signals import Block, cut, music, square, traced_peak

SUBTYPES = {
    OutputFormat.WAV: ("WAV", "PCM_16"),
    OutputFormat.WAV24: ("WAV", "PCM_24"),
    OutputFormat.WAV32F: ("WAV", "FLOAT"),
    OutputFormat.FLAC: ("FLAC", "PCM_24"),
}
INTEGER_FORMATS = [OutputFormat.WAV, OutputFormat.WAV24, OutputFormat.FLAC]


def written(
    folder: Path,
    track: Block,
    output_format: OutputFormat,
    rate: int = 44_100,
    lengths: Sequence[int] = (10_000,),
    name: str = "track",
    factor: float = 1.0,
) -> tuple[WrittenFile, int]:
    """The file and how many samples clipped."""
    path = folder / f"{name}.{ENCODINGS[output_format].extension}"
    writer = TrackWriter(path, output_format, rate, len(track), track.shape[1], factor)
    for block in cut(track, lengths):
        before = block.copy()
        writer.write(block)
        np.testing.assert_array_equal(block, before)
    return writer.close(), writer.clipped


def read(file: WrittenFile) -> Block:
    return np.concatenate(list(SongReader(file.path).blocks()), axis=1)


@pytest.mark.parametrize("output_format", OutputFormat)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 384_000])
def test_every_format_round_trips(
    output_format: OutputFormat, channels: int, rate: int, tmp_path: Path
) -> None:
    bits = ENCODINGS[output_format].bits
    track = music(20_001, channels)
    if ENCODINGS[output_format].integer:
        track = np.round(track * 2 ** (bits - 1)) / np.float32(2 ** (bits - 1))

    file, clipped = written(tmp_path, track, output_format, rate)

    info = soundfile.info(file.path)
    assert (info.format, info.subtype) == SUBTYPES[output_format]
    assert (info.samplerate, info.channels, info.frames) == (rate, channels, track.shape[1])
    np.testing.assert_array_equal(read(file), track)
    assert clipped == 0


@pytest.mark.parametrize("output_format", INTEGER_FORMATS)
def test_integers_are_the_nearest_step(output_format: OutputFormat, tmp_path: Path) -> None:
    step = 2.0 ** (1 - ENCODINGS[output_format].bits)
    track = music(20_000)

    decoded = read(written(tmp_path, track, output_format)[0])

    assert np.abs(decoded.astype(np.float64) - track).max() <= step / 2


@pytest.mark.parametrize("output_format", OutputFormat)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_track_is_multiplied_and_may_lie_in_memory_either_way(
    output_format: OutputFormat, channels: int, tmp_path: Path
) -> None:
    track = music(20_000, channels)

    as_rows, _ = written(tmp_path, track, output_format, factor=0.7)
    interleaved = np.asfortranarray(track)
    as_columns, _ = written(tmp_path, interleaved, output_format, name="columns", factor=0.7)
    multiplied, _ = written(tmp_path, track * np.float32(0.7), output_format, name="before")

    assert as_rows.sha256 == as_columns.sha256 == multiplied.sha256


@pytest.mark.parametrize("output_format", INTEGER_FORMATS)
def test_samples_out_of_range_are_limited_and_counted(output_format: OutputFormat, tmp_path: Path) -> None:
    step = 2.0 ** (1 - ENCODINGS[output_format].bits)
    track = np.array([[1.5, -1.5, 1.0, -1.0, 1.0 - step, 0.5, 1e9, -1e9]], np.float32)

    file, clipped = written(tmp_path, track, output_format)

    highest = 1.0 - step
    np.testing.assert_array_equal(read(file)[0], [highest, -1, highest, -1, highest, 0.5, highest, -1])
    assert clipped == 5


def test_a_square_wave_at_full_scale_clips_by_one_step_where_it_is_positive(tmp_path: Path) -> None:
    assert written(tmp_path, square(10_000), OutputFormat.WAV)[1] == 10_000


def test_float_files_never_clip(tmp_path: Path) -> None:
    track = 1000 * music(5_000)

    file, clipped = written(tmp_path, track, OutputFormat.WAV32F)

    np.testing.assert_array_equal(read(file), track)
    assert clipped == 0


def test_the_same_track_gives_the_same_bytes_at_another_time(tmp_path: Path) -> None:
    track = music(30_000)
    first = [written(tmp_path, track, kind, name=f"first_{kind}")[0] for kind in OutputFormat]
    time.sleep(1.05)  # the PEAK chunk of float files would count seconds

    again = [written(tmp_path, track, kind, lengths=[777, 1, 9_000], name=kind)[0] for kind in OutputFormat]

    assert [file.path.read_bytes() for file in again] == [file.path.read_bytes() for file in first]


@pytest.mark.parametrize("output_format", OutputFormat)
@pytest.mark.parametrize("frames", [0, 1, 300_000])
def test_size_and_checksums_are_those_of_the_file(
    output_format: OutputFormat, frames: int, tmp_path: Path
) -> None:
    file, _ = written(tmp_path, music(frames), output_format)

    content = file.path.read_bytes()
    assert file.size == len(content)
    assert file.crc32 == zlib.crc32(content)
    assert file.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("output_format", [OutputFormat.WAV, OutputFormat.WAV24, OutputFormat.WAV32F])
def test_a_track_too_long_for_riff_is_rf64(output_format: OutputFormat, tmp_path: Path) -> None:
    """Only announced to be that long: a test need not write 4 GiB."""
    frame_bytes = 2 * ENCODINGS[output_format].bits // 8
    for frames, container in [(MAX_RIFF_BYTES // frame_bytes, b"RIFF"), (2**32 // frame_bytes, b"RF64")]:
        writer = TrackWriter(tmp_path / "track.wav", output_format, 44_100, 2, frames)
        track = music(5_000)
        writer.write(track)
        file = writer.close()

        content = file.path.read_bytes()
        header = read_header(content[:HEAD_BYTES], content[-HEAD_BYTES:], len(content))
        assert content[:4] == container
        assert (header.frames, header.channels, header.complete) == (5_000, 2, True)
        np.testing.assert_allclose(read(file), track, rtol=0, atol=2**-15)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Files may not grow beyond `size` bytes: writing more fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("output_format", OutputFormat)
@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_a_full_disk_is_named(output_format: OutputFormat, size: int, tmp_path: Path) -> None:
    with disk_of(size), pytest.raises(JobFailed) as failed:
        written(tmp_path, music(400_000), output_format)

    assert failed.value.failure.code is FailureCode.DISK_FULL
    assert failed.value.failure.error.endswith(".")


def test_a_disk_without_room_for_another_file_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "touch", touch)

    with pytest.raises(JobFailed) as failed:
        TrackWriter(tmp_path / "track.wav", OutputFormat.WAV, 44_100, 2, 100)

    assert failed.value.failure.code is FailureCode.DISK_FULL


def test_a_missing_folder_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TrackWriter(tmp_path / "nowhere" / "track.wav", OutputFormat.WAV, 44_100, 2, 100)


@pytest.mark.parametrize("output_format", OutputFormat)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_numbers_are_never_written(
    output_format: OutputFormat, bad: float, tmp_path: Path
) -> None:
    track = music(1_000)
    track[1, 500] = bad

    with pytest.raises(JobFailed) as failed:
        written(tmp_path, track, output_format)

    assert failed.value.failure.code is FailureCode.RUNNER_ERROR


def test_memory_does_not_grow_with_the_track(tmp_path: Path) -> None:
    def track_of(blocks: int) -> int:
        writer = TrackWriter(tmp_path / "track.wav", OutputFormat.WAV24, 44_100, 2, blocks * 16_384)
        block = music(16_384)

        def write() -> None:
            for _ in range(blocks):
                writer.write(block)
            writer.close()

        return traced_peak(write)

    assert track_of(100) < 1.1 * track_of(10)
