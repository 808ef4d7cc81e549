"""Audio files for tests, written by libsndfile."""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", None),
}


def chord(seconds: float = 1.0, rate: int = 44_100, channels: int = 2) -> NDArray[np.float32]:
    """A quiet decaying chord with a click each half second, shape (frames, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (110.0, 277.2, 440.0))
    decay = np.exp(-6 * (time % 0.5))
    return np.repeat((0.15 * tones * decay)[:, None], channels, 1).astype(np.float32)


def encode(samples: NDArray[np.float32], rate: int = 44_100, kind: str = "wav", subtype: str = "") -> bytes:
    """`samples`, shape (frames, channels), as the bytes of a file."""
    name, usual = FORMATS[kind]
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, samples.shape[1], format=name, subtype=subtype or usual) as out:
        for start in range(0, len(samples), rate):  # libsndfile's Vorbis encoder wants small blocks
            out.write(samples[start : start + rate])
    return file.getvalue()


def song(seconds: float = 1.0, kind: str = "wav", rate: int = 44_100, channels: int = 2) -> bytes:
    """A short piece of music as the bytes of a file."""
    return encode(chord(seconds, rate, channels), rate, kind)
