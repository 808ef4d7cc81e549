"""The one result of the header readers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AudioHeader:
    """`container` is wav, flac, mp3 or ogg. `sample_rate` in Hz, `frames` in samples per channel.

    `frames` is None where the header does not say; for mp3 it counts encoder delay and padding too.
    `complete` is False when the file is shorter than its header promises.
    """

    container: str
    channels: int
    sample_rate: int
    frames: int | None = None
    complete: bool = True
