"""What the first and last bytes of an audio file promise: container, channels, rate, frames.

Pure functions over bytes, so that the API judges an upload without an audio library, from two ranged reads,
and the runner can tell a body that was cut short from its header.
"""

from contract.audio_containers.errors import BadAudio
from contract.audio_containers.flac import read_flac
from contract.audio_containers.header import AudioHeader
from contract.audio_containers.mp3 import read_mp3
from contract.audio_containers.ogg import read_ogg
from contract.audio_containers.wav import read_wav

__all__ = ["HEAD_BYTES", "AudioHeader", "BadAudio", "read_header"]

HEAD_BYTES = 64 * 1024
"""How much of a file's beginning, and of its end, `read_header` wants to see."""


def read_header(head: bytes, tail: bytes, size: int) -> AudioHeader:
    """What an audio file says of itself.

    Args:
        head: its first `HEAD_BYTES` (all of it when it is shorter).
        tail: its last `HEAD_BYTES` (may overlap with `head`).
        size: its length in bytes.

    Raises:
        BadAudio: the bytes are not wav, flac, ogg or mp3, or the header is broken.
    """
    if size == 0:
        raise BadAudio("The file is empty.")
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
        return read_wav(head, size)
    if head.startswith(b"OggS"):
        return read_ogg(head, tail)
    tag_bytes = id3v2_bytes(head)
    if head[tag_bytes : tag_bytes + 4] == b"fLaC":
        return read_flac(head[tag_bytes:])
    return read_mp3(head, tail, size, tag_bytes)


def id3v2_bytes(head: bytes) -> int:
    """Length of the ID3v2 tag at the beginning, 0 when there is none (https://id3.org/id3v2.4.0-structure)."""
    if len(head) < 10 or not head.startswith(b"ID3"):
        return 0
    length = 0
    for byte in head[6:10]:  # syncsafe: seven bits a byte
        length = (length << 7) | (byte & 0x7F)
    footer = 10 if head[5] & 0x10 else 0
    return 10 + length + footer
