"""What the first and last bytes of an audio file promise: container, channels, rate, frames.

Pure functions over bytes, so that the API judges an upload without an audio library, from two ranged reads,
and the runner can tell a body that was cut short from its header.
"""

from dataclasses import dataclass

HEAD_BYTES = 64 * 1024
"""How much of a file's beginning, and of its end, `read_header` wants to see."""


@dataclass(frozen=True)
class AudioHeader:
    """`container` is wav, flac, mp3 or ogg. `sample_rate` in Hz, `frames` in samples per channel.

    `frames` is None where the header does not say. `complete` is False when the file is shorter than its
    header promises.
    """

    container: str
    channels: int
    sample_rate: int
    frames: int | None
    complete: bool


class BadAudio(ValueError):  # noqa: N818
    """Not a readable audio file; the message is a sentence for the person who uploaded it."""


def read_header(head: bytes, tail: bytes, size: int) -> AudioHeader:
    """What an audio file says of itself.

    Args:
        head: its first `HEAD_BYTES` (all of it when it is shorter).
        tail: its last `HEAD_BYTES` (may overlap with `head`).
        size: its length in bytes.

    Raises:
        BadAudio: the bytes are not wav, flac, ogg or mp3, or the header is broken.
    """
    raise NotImplementedError
