"""The nine tracks, where each lies, and the formats in which they are written."""

from dataclasses import dataclass
from enum import StrEnum


class Track(StrEnum):
    """The nine tracks of a job, in the order in which every answer lists them."""

    VOCALS = "vocals"
    DRUMS = "drums"
    BASS = "bass"
    OTHER = "other"
    HARMONIC = "harmonic"
    PERCUSSIVE = "percussive"
    MAIN = "main"
    MAIN_HARMONIC = "main_harmonic"
    MAIN_PERCUSSIVE = "main_percussive"


FOLDERS: dict[Track, str] = {
    Track.VOCALS: "demucs_output",
    Track.DRUMS: "demucs_output",
    Track.BASS: "demucs_output",
    Track.OTHER: "demucs_output",
    Track.HARMONIC: "harmonic_percussive",
    Track.PERCUSSIVE: "harmonic_percussive",
    Track.MAIN: "composite",
    Track.MAIN_HARMONIC: "composite",
    Track.MAIN_PERCUSSIVE: "composite",
}


class OutputFormat(StrEnum):
    """How the nine tracks are written."""

    WAV = "wav"
    WAV24 = "wav24"
    WAV32F = "wav32f"
    FLAC = "flac"


@dataclass(frozen=True)
class Encoding:
    """What an output format means: file extension without the dot, media type, bits, integer or float."""

    extension: str
    media_type: str
    bits: int
    integer: bool


ENCODINGS: dict[OutputFormat, Encoding] = {
    OutputFormat.WAV: Encoding("wav", "audio/wav", 16, integer=True),
    OutputFormat.WAV24: Encoding("wav", "audio/wav", 24, integer=True),
    OutputFormat.WAV32F: Encoding("wav", "audio/wav", 32, integer=False),
    OutputFormat.FLAC: Encoding("flac", "audio/flac", 24, integer=True),
}
