"""MPEG audio (ISO/IEC 11172-3, 13818-3): frame headers and the Xing/Info tag."""

import struct
from dataclasses import dataclass

from contract.audio_containers.errors import BadAudio
from contract.audio_containers.header import AudioHeader

_BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG 1 layer III, kbit/s
_BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MPEG_1 = 3
_LAYER_3 = 1
_MONO = 3
_SLACK_BYTES = 4096  # encoders and taggers differ in what they count, by less than this


@dataclass(frozen=True)
class _Frame:
    version: int
    rate: int
    channels: int
    length: int

    @property
    def samples(self) -> int:
        return 1152 if self.version == _MPEG_1 else 576

    @property
    def side_info_bytes(self) -> int:
        if self.version == _MPEG_1:
            return 17 if self.channels == 1 else 32
        return 9 if self.channels == 1 else 17


def read_mp3(head: bytes, tail: bytes, size: int, tag_bytes: int) -> AudioHeader:
    """Looks for two frames in a row behind the ID3v2 tag of `tag_bytes`. Raises BadAudio.

    A tag with a picture can be longer than `head`; then any frames at the end tell channels and rate.
    """
    position = _first_frame(head, tag_bytes)
    if position is None:
        late = _first_frame(tail, 0) if tag_bytes >= len(head) else None
        if late is None:
            raise BadAudio("The file is not a WAV, FLAC, Ogg or MP3 file.")
        frame = _parse(tail, late)
        assert frame is not None
        return AudioHeader("mp3", frame.channels, frame.rate)
    frame = _parse(head, position)
    assert frame is not None
    frames, audio_bytes = _xing(head, position, frame)
    complete = audio_bytes is None or size + _SLACK_BYTES >= position + audio_bytes
    return AudioHeader(
        "mp3", frame.channels, frame.rate, frames * frame.samples if frames else None, complete=complete
    )


def _first_frame(data: bytes, start: int) -> int | None:
    """Where the first frame begins that is followed by another of the same kind, or ends the data."""
    position = data.find(b"\xff", start)
    while position >= 0:
        frame = _parse(data, position)
        if frame is not None:
            following = _parse(data, position + frame.length)
            if following is not None and (following.version, following.rate) == (frame.version, frame.rate):
                return position
        position = data.find(b"\xff", position + 1)
    return None


def _parse(data: bytes, position: int) -> _Frame | None:
    """The layer III frame header at `position`, None where there is none."""
    if position + 4 > len(data):
        return None
    (word,) = struct.unpack_from(">I", data, position)
    version, layer = word >> 19 & 0b11, word >> 17 & 0b11
    bitrate_index, rate_index = word >> 12 & 0b1111, word >> 10 & 0b11
    if word >> 21 != 0x7FF or version not in _RATES or layer != _LAYER_3:
        return None
    if bitrate_index in (0, 15) or rate_index == 3:
        return None
    rate = _RATES[version][rate_index]
    bitrate = 1000 * (_BITRATES_1 if version == _MPEG_1 else _BITRATES_2)[bitrate_index]
    length = (144 if version == _MPEG_1 else 72) * bitrate // rate + (word >> 9 & 1)
    return _Frame(version, rate, 1 if word >> 6 & 0b11 == _MONO else 2, length)


def _xing(data: bytes, position: int, frame: _Frame) -> tuple[int | None, int | None]:
    """Number of frames and of bytes that the Xing or Info tag in the first frame names."""
    tag = data[position + 4 + frame.side_info_bytes :][:16]
    if tag[:4] not in (b"Xing", b"Info") or len(tag) < 16:
        return None, None
    (flags,) = struct.unpack_from(">I", tag, 4)
    fields = struct.unpack_from(">II", tag, 8)
    frames = fields[0] if flags & 1 else None
    audio_bytes = fields[1] if flags & 3 == 3 else None
    return frames, audio_bytes
