"""The bodies of the API's answers, beyond what stands in the manifest."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from contract.clock import Timestamp
from contract.failures import FailureCode
from contract.manifest import JobAnswer, Manifest, ModelRecord, TrackRecord, Waiting
from contract.stages import PROCESSOR_TYPES, StageName, Standing, Status, standing
from contract.tracks import Track


class Links(BaseModel):
    """Where to go on from a job; paths below the API's address."""

    self: str
    outputs: str
    all: str


class Result(BaseModel):
    """What came out of a completed job: levels and checksums of the tracks, circumstances of the run.

    `seconds` of the song and of every track; `residual_db` as in the manifest.
    """

    seconds: float
    sample_rate: int
    channels: int
    model: ModelRecord
    device: str
    residual_db: float | None
    tracks: Mapping[Track, TrackRecord]


class JobView(JobAnswer):
    """The status of a job. Fields may be added in later versions, none renamed or removed."""

    links: Links
    result: Result | None = None


def view(answer: JobAnswer, manifest: Manifest | None = None) -> JobView:
    """The answer with its links, and with the result when the manifest of a completed job is there."""
    fields = {name: getattr(answer, name) for name in JobAnswer.model_fields}
    return JobView(**fields, links=_links(answer.job_id), result=_result(manifest) if manifest else None)


class JobSummary(BaseModel):
    """A job in a list: what matters of its status, and where to find the rest."""

    job_id: str
    file_name: str
    created_at: Timestamp
    status: Status
    stage: Standing = Field(description="The first unfinished stage, or what comes before or after all four.")
    progress: float
    code: FailureCode | None
    error: str | None
    waiting: Waiting | None
    links: Links


class JobsPage(BaseModel):
    """Jobs, newest first. `next` is the cursor of the following page, null on the last one.

    A page with filters may hold fewer jobs than asked for, even none, and still have a next one.
    """

    jobs: tuple[JobSummary, ...]
    next: str | None


def summary(answer: JobAnswer, file_name: str) -> JobSummary:
    """A job's line in a list."""
    return JobSummary(
        job_id=answer.job_id,
        file_name=file_name,
        created_at=answer.created_at,
        status=answer.status,
        stage=standing(answer.stages),
        progress=answer.progress,
        code=answer.code,
        error=answer.error,
        waiting=answer.waiting,
        links=_links(answer.job_id),
    )


def _links(job_id: str) -> Links:
    return Links(self=f"/job/{job_id}", outputs=f"/job/{job_id}/outputs", all=f"/download/{job_id}/all")


def _result(manifest: Manifest) -> Result | None:
    rate, channels, frames = manifest.sample_rate, manifest.channels, manifest.frames
    if rate is None or channels is None or frames is None or manifest.model is None or not manifest.tracks:
        return None
    return Result(
        seconds=frames / rate,
        sample_rate=rate,
        channels=channels,
        model=manifest.model,
        device=manifest.device or "",
        residual_db=manifest.residual_db,
        tracks=manifest.tracks,
    )


class Health(BaseModel):
    """The API runs. Says nothing of store or launcher."""

    status: str = "healthy"
    version: str
    pipeline_stages: int = len(StageName)


class Ready(BaseModel):
    """Store and launcher answer."""

    status: str = "ready"


class StageDescription(BaseModel):
    """A stage of the pipeline."""

    name: StageName
    processor_type: str


class Configuration(BaseModel):
    """What an upload may be, and what is done with it."""

    max_file_size_mb: int
    supported_formats: tuple[str, ...]
    pipeline_stages: tuple[StageDescription, ...] = tuple(
        StageDescription(name=name, processor_type=kind) for name, kind in PROCESSOR_TYPES.items()
    )
    models: Annotated[tuple[str, ...], Field(description="Values of the option `model`.")]
    max_duration_seconds: float
    body_limit_mb: Annotated[
        float | None, Field(description="A file of more MB must go the way of POST /uploads.")
    ] = None
