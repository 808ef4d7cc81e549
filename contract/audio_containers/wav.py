"""WAV: RIFF, RIFX (big-endian) and RF64 (EBU Tech 3306)."""

import struct

from contract.audio_containers.errors import BadAudio
from contract.audio_containers.header import AudioHeader

# Format tags whose frames all have `block align` bytes: PCM, IEEE float, A-law, µ-law, extensible.
_FIXED_SIZE_TAGS = {1, 3, 6, 7, 0xFFFE}
_UNKNOWN_SIZE = 0xFFFFFFFF  # written by encoders that stream and cannot go back


def read_wav(head: bytes, size: int) -> AudioHeader:
    """Walks the chunks in `head` up to `data`. A file of `size` bytes. Raises BadAudio."""
    order = ">" if head.startswith(b"RIFX") else "<"
    fmt: tuple[int, int, int, int] | None = None
    long_data_bytes: int | None = None
    position = 12
    while position + 8 <= len(head):
        name = head[position : position + 4]
        (length,) = struct.unpack_from(f"{order}I", head, position + 4)
        body = position + 8
        if name == b"ds64" and body + 16 <= len(head):
            (long_data_bytes,) = struct.unpack_from("<Q", head, body + 8)
        elif name == b"fmt " and body + 16 <= len(head):
            tag, channels, rate, _, align = struct.unpack_from(f"{order}HHIIH", head, body)
            fmt = (tag, channels, rate, align)
        elif name == b"data":
            return _judge(fmt, body, length, long_data_bytes, size)
        position = body + length + (length & 1)
    if fmt is None or position < size <= len(head):
        raise BadAudio("The WAV header is broken: it has no audio data.")
    if position >= size:
        raise BadAudio("The WAV file ends before its audio data begins.")
    return AudioHeader("wav", fmt[1], fmt[2])


def _judge(
    fmt: tuple[int, int, int, int] | None, body: int, length: int, long_bytes: int | None, size: int
) -> AudioHeader:
    if fmt is None:
        raise BadAudio("The WAV header is broken: the format is missing.")
    tag, channels, rate, align = fmt
    if channels < 1 or rate < 1:
        raise BadAudio("The WAV header is broken: it names no channels or no sample rate.")
    if length == _UNKNOWN_SIZE and long_bytes is not None:
        length = long_bytes
    streamed = length == _UNKNOWN_SIZE or (length == 0 and size > body)
    if streamed or tag not in _FIXED_SIZE_TAGS or align == 0:
        return AudioHeader("wav", channels, rate)
    return AudioHeader("wav", channels, rate, length // align, complete=body + length <= size)
