"""The bodies of the API's answers, beyond what stands in the manifest."""

from typing import Annotated

from pydantic import BaseModel, Field

from contract.manifest import JobAnswer
from contract.stages import PROCESSOR_TYPES, StageName


class Links(BaseModel):
    """Where to go on from a job; paths below the API's address."""

    self: str
    outputs: str
    all: str


class JobView(JobAnswer):
    """The status of a job. Fields may be added in later versions, none renamed or removed."""

    links: Links


def view(answer: JobAnswer) -> JobView:
    """The answer with its links."""
    job_id = answer.job_id
    links = Links(self=f"/job/{job_id}", outputs=f"/job/{job_id}/outputs", all=f"/download/{job_id}/all")
    return JobView(**{name: getattr(answer, name) for name in JobAnswer.model_fields}, links=links)


class Health(BaseModel):
    """The API runs. Says nothing of store or launcher."""

    status: str = "healthy"
    version: str
    pipeline_stages: int = len(StageName)


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
