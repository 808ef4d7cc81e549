"""FLAC (RFC 9639): the STREAMINFO block, which always comes first."""

from contract.audio_containers.errors import BadAudio
from contract.audio_containers.header import AudioHeader


def read_flac(head: bytes, container: str = "flac") -> AudioHeader:
    """Reads `head`, which begins with the marker `fLaC`. Raises BadAudio."""
    if len(head) < 8 + 18 or head[4] & 0x7F != 0:
        raise BadAudio("The FLAC header is broken: the stream information is missing.")
    packed = int.from_bytes(head[18:26], "big")  # 20 bits rate, 3 channels - 1, 5 bits - 1, 36 frames
    rate, channels, frames = packed >> 44, (packed >> 41 & 0b111) + 1, packed & (1 << 36) - 1
    if rate == 0:
        raise BadAudio("The FLAC header is broken: it names no sample rate.")
    return AudioHeader(container, channels, rate, frames or None)
