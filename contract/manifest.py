"""`manifest.json`: the record of a finished job, and the answer that GET /job/{id} gives from it."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from contract.clock import Timestamp
from contract.failures import FailureCode
from contract.record import Record
from contract.stages import Stages, Status
from contract.tracks import Track


class Waiting(Record):
    """Why a job that is not running yet waits: a code and one sentence."""

    code: str
    message: str


class JobAnswer(Record):
    """What GET /job/{id} says. `progress` is 0 to 1; `outputs` maps track to the URI of its object."""

    job_id: str
    status: Status
    created_at: Timestamp
    stages: Stages
    outputs: Mapping[Track, str] = Field(default_factory=dict)
    progress: float = 0.0
    code: FailureCode | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    waiting: Waiting | None = None


class TrackRecord(Record):
    """One written track.

    `size` in bytes, `crc32` as in a ZIP, `sha256` in hex. Loudness in LUFS (integrated, ITU-R BS.1770), null
    for silence and for less than 0.4 s; true peaks in dBTP, null for silence; gain in dB.
    `clipped_samples` counts samples that the integer format had to limit.
    """

    key: str
    media_type: str
    size: int
    crc32: int
    sha256: str
    generation: int
    loudness_before: float | None
    loudness_after: float | None
    true_peak_before: float | None
    true_peak_after: float | None
    gain_db: float
    clipped_samples: int


class ModelRecord(Record):
    """Which weights separated the song. `asked` is the option, `name` what it came to."""

    asked: str
    name: str
    sha256: str


class Manifest(Record):
    """The record of a finished job; written last and once, so `completed` means every byte is there.

    `sample_rate` in Hz and `frames` (samples per channel) are those of the song and of every track.
    `residual_db` is the energy of song − (drums + bass + other + vocals) against the song's, in dB;
    null when it is exactly zero or the song is silent. `device` is where the network ran (`cpu`, or `cuda: `
    and the GPU's name); `fallback` says what was asked for or tried before, and why it did not do.
    """

    schema_version: int = 1
    answer: JobAnswer
    file_name: str
    finished_at: Timestamp
    attempt: str = ""
    sample_rate: int | None = None
    channels: int | None = None
    frames: int | None = None
    tracks: Mapping[Track, TrackRecord] = Field(default_factory=dict)
    model: ModelRecord | None = None
    device: str | None = None
    fallback: tuple[str, ...] = ()
    residual_db: float | None = None
    versions: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_final(self) -> Self:
        if self.answer.status not in (Status.COMPLETED, Status.FAILED):
            raise ValueError("a manifest is the record of a job that has ended")
        return self
