"""Ogg (RFC 3533) with Vorbis, Opus (RFC 7845) or FLAC inside."""

import struct

from contract.audio_containers.errors import BadAudio
from contract.audio_containers.flac import read_flac
from contract.audio_containers.header import AudioHeader

_PAGE_HEADER_BYTES = 27
_OPUS_RATE = 48_000  # Opus always decodes at 48 kHz; its header's rate is only a note
_NO_PACKET_ENDS = 0xFFFFFFFFFFFFFFFF


def read_ogg(head: bytes, tail: bytes) -> AudioHeader:
    """Channels and rate from the first packet, frames from the last page. Raises BadAudio."""
    if len(head) < _PAGE_HEADER_BYTES:
        raise BadAudio("The Ogg file ends within its header.")
    packet = head[_PAGE_HEADER_BYTES + head[26] :]
    if packet.startswith(b"\x01vorbis") and len(packet) >= 16:
        channels, rate = struct.unpack_from("<BI", packet, 11)
        pre_skip = 0
    elif packet.startswith(b"OpusHead") and len(packet) >= 12:
        channels, pre_skip = struct.unpack_from("<BH", packet, 9)
        rate = _OPUS_RATE
    elif packet.startswith(b"\x7fFLAC"):
        return read_flac(packet[9:], "ogg")
    else:
        raise BadAudio("The Ogg file holds no Vorbis, Opus or FLAC audio.")
    if channels < 1 or rate < 1:
        raise BadAudio("The Ogg header is broken: it names no channels or no sample rate.")
    granule, complete = _last_page(tail)
    frames = None if granule is None else max(0, granule - pre_skip)
    return AudioHeader("ogg", channels, rate, frames, complete)


def _last_page(tail: bytes) -> tuple[int | None, bool]:
    """The last page's granule position (None when unknown), and whether that page is whole."""
    start = tail.rfind(b"OggS")
    if start < 0:  # a page is at most 65,307 bytes long, so the end of a whole file shows one
        return None, False
    page = tail[start:]
    if len(page) < _PAGE_HEADER_BYTES or len(page) < _PAGE_HEADER_BYTES + page[26]:
        return None, False
    segments = page[_PAGE_HEADER_BYTES : _PAGE_HEADER_BYTES + page[26]]
    if len(page) < _PAGE_HEADER_BYTES + len(segments) + sum(segments):
        return None, False
    (granule,) = struct.unpack_from("<Q", page, 6)
    return (None if granule == _NO_PACKET_ENDS else granule), True
