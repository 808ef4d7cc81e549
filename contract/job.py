"""What a job is asked to do: its options, its record in the store, and what its runner is told."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, HttpUrl, WithJsonSchema

from contract.clock import Timestamp
from contract.record import Record
from contract.tracks import OutputFormat

SUPPORTED_FORMATS = ("wav", "mp3", "flac", "ogg")
"""Accepted uploads, by file extension."""

ANONYMOUS = "anonymous"
"""Who owns a job while nobody is asked who he is."""


class Normalization(StrEnum):
    """How loudness is brought to the target (BS.1770 integrated loudness)."""

    LINKED = "linked"
    PER_TRACK = "per_track"
    OFF = "off"


class OtherMethod(StrEnum):
    """Where the track `other` comes from."""

    MODEL = "model"
    MINUS = "minus"


class JobOptions(Record):
    """What an upload may choose. `target_lufs` in LUFS; `callback_url` is told when the job has ended."""

    model: str = "auto"
    normalization: Normalization = Normalization.LINKED
    target_lufs: Annotated[float, Field(ge=-70.0, le=0.0, allow_inf_nan=False)] = -14.0
    output_format: OutputFormat = OutputFormat.WAV
    other_method: OtherMethod = OtherMethod.MODEL
    callback_url: Annotated[HttpUrl | None, WithJsonSchema({"type": "string", "format": "uri"})] = None


class InputObject(Record):
    """The uploaded song in the store: exactly these bytes, pinned by generation. `size` in bytes."""

    key: str
    generation: int
    size: int


class JobRecord(Record):
    """`job.json`: written once, before anything is started."""

    schema_version: int = 1
    job_id: str
    owner: str = ANONYMOUS
    created_at: Timestamp
    file_name: str
    options: JobOptions
    input: InputObject


class JobSpec(Record):
    """What a launcher tells a runner, and all that it tells: identity. The rest stands in `job.json`.

    `store` is the store's URL (`file://…`, `gs://…`); `report` says where progress goes:
    `file://…/status.json`, `kubernetes://<namespace>/<Job>`, or empty for nowhere but the log.
    """

    job_id: str
    store: str
    report: str = ""

    def to_env(self) -> dict[str, str]:
        """The environment variables of a runner for this job."""
        return {
            "STEMJOB_JOB_ID": self.job_id,
            "STEMJOB_JOB_STORE": self.store,
            "STEMJOB_JOB_REPORT": self.report,
        }

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        """The inverse of `to_env`.

        Raises:
            ValueError: a variable is missing; the message names it.
        """
        for name in ("STEMJOB_JOB_ID", "STEMJOB_JOB_STORE"):
            if not environment.get(name):
                raise ValueError(f"{name} is not set: a runner needs to know its job and its store")
        return cls(
            job_id=environment["STEMJOB_JOB_ID"],
            store=environment["STEMJOB_JOB_STORE"],
            report=environment.get("STEMJOB_JOB_REPORT", ""),
        )
