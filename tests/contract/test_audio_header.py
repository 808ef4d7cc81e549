"""Headers are read as libsndfile reads them, from files that libsndfile wrote."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import soundfile

from contract.audio_header import HEAD_BYTES, AudioHeader, BadAudio, read_header

CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_24"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", None),
}


def encoded(
    container: str, *, rate: int = 44_100, channels: int = 2, seconds: float = 3.0, **more: Any
) -> bytes:
    noise = 0.1 * np.random.default_rng(1).standard_normal((int(rate * seconds), channels)).astype("f4")
    name, subtype = CONTAINERS[container]
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, channels, format=name, subtype=more.get("subtype", subtype)
    ) as out:
        for start in range(0, len(noise), rate // 2):
            out.write(noise[start : start + rate // 2])
    return file.getvalue()


def judge(content: bytes) -> AudioHeader:
    return read_header(content[:HEAD_BYTES], content[-HEAD_BYTES:], len(content))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_channels_rate_and_frames_are_those_of_the_file(container: str, rate: int, channels: int) -> None:
    header = judge(encoded(container, rate=rate, channels=channels))

    assert (header.container, header.channels, header.sample_rate) == (container, channels, rate)
    assert header.complete
    if container == "mp3":  # counts the encoder's delay and padding too
        assert header.frames is not None
        assert 0 <= header.frames - 3 * rate < 4 * 1152
    else:
        assert header.frames == 3 * rate


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_kind_of_wav_counts_its_frames(subtype: str) -> None:
    assert judge(encoded("wav", subtype=subtype)).frames == 3 * 44_100


def test_more_than_two_channels_are_counted() -> None:
    assert judge(encoded("wav", channels=6)).channels == 6


@pytest.mark.parametrize("container", ["wav", "ogg", "mp3"])
def test_a_body_cut_short_is_not_complete(container: str) -> None:
    whole = encoded(container)

    assert not judge(whole[: len(whole) * 2 // 3]).complete


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_cut_is_a_header_or_one_clear_sentence(container: str) -> None:
    whole = encoded(container, seconds=0.5)
    for length in [*range(300), *range(300, len(whole), 997)]:
        try:
            judge(whole[:length])
        except BadAudio as error:
            assert str(error).endswith(".")


def test_random_bytes_never_raise_anything_else() -> None:
    random = np.random.default_rng(2)
    for start in [
        b"",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0",
        b"fLaC",
        b"OggS",
        b"ID3\4\0\0\0\0\0\0",
    ]:
        for size in (0, 1, 7, 60, 4000):
            try:
                judge(start + random.bytes(size))
            except BadAudio as error:
                assert str(error).endswith(".")


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is a text and no music\n" * 50, b"\x89PNG\r\n\x1a\n" + bytes(500)]
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(BadAudio):
        judge(content)


def test_an_mp3_behind_a_large_picture_is_judged_by_its_end() -> None:
    picture = 200_000
    syncsafe = bytes(picture >> shift & 0x7F for shift in (21, 14, 7, 0))
    content = b"ID3\x04\x00\x00" + syncsafe + bytes(picture) + encoded("mp3", channels=1, rate=22_050)

    header = judge(content)

    assert (header.container, header.channels, header.sample_rate) == ("mp3", 1, 22_050)


@pytest.mark.parametrize("data_bytes", [0, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_frames(data_bytes: int) -> None:
    content = bytearray(encoded("wav"))
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", data_bytes)

    header = judge(bytes(content))

    assert header.frames is None
    assert header.complete


def test_rf64_takes_its_length_from_ds64() -> None:
    frames = 5_000_000_000
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, frames * 4, frames, 0)
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 2, 96_000, 384_000, 4, 16)
    head = b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff" + bytes(1000)

    header = read_header(head, bytes(1000), len(head) - 1000 + frames * 4)

    assert (header.frames, header.sample_rate, header.complete) == (frames, 96_000, True)
