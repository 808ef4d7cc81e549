"""Uploads and the status of jobs."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi import Query as QueryParameter

from api.answers import JobsPage, JobView
from api.errors import Refusal, RefusalCode, error_response
from api.lingering import LingeringResponse
from api.listing import MAX_LIMIT, Query
from api.routes.shared import TheService, TheTransfers, refusals
from api.uploads import receive_upload
from contract.job import JobOptions
from contract.stages import Standing
from contract.tracks import Track

router = APIRouter(tags=["jobs"])


def _form_schema() -> dict[str, Any]:
    options = JobOptions.model_json_schema(ref_template="#/components/schemas/{model}")
    inlined = options.pop("$defs", {})
    properties = {
        name: inlined.get(str(schema.get("$ref", "")).rpartition("/")[2], {}) | schema
        for name, schema in options["properties"].items()
    }
    for schema in properties.values():
        schema.pop("$ref", None)
    song = {"type": "string", "format": "binary", "description": "The song: wav, mp3, flac or ogg."}
    reference = {"type": "string", "description": "In place of the file: the id that POST /uploads gave."}
    return {"type": "object", "properties": {"file": song, "upload_id": reference, **properties}}


@router.post(
    "/process",
    response_model=JobView,
    responses=refusals(
        RefusalCode.NO_FILENAME,
        RefusalCode.UNSUPPORTED_FORMAT,
        RefusalCode.INVALID_AUDIO,
        RefusalCode.DURATION_EXCEEDED,
        RefusalCode.UNKNOWN_MODEL,
        RefusalCode.INVALID_OPTION,
        RefusalCode.INVALID_REQUEST,
        RefusalCode.UPLOAD_STALLED,
        RefusalCode.TOO_LARGE,
        RefusalCode.IDEMPOTENCY_KEY_REUSED,
        RefusalCode.UPLOAD_NOT_FOUND,
        RefusalCode.UPLOAD_INCOMPLETE,
        RefusalCode.UPLOAD_USED,
        RefusalCode.STORE_UNAVAILABLE,
        RefusalCode.BUSY,
    ),
    openapi_extra={
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _form_schema()}}}
    },
)
async def process(
    request: Request,
    service: TheService,
    transfers: TheTransfers,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response | JobView:
    """Takes a song and starts a job. With an Idempotency-Key the same upload sent again is the same job.

    In place of the song, `upload_id` may name one that was announced to POST /uploads and has arrived. It
    needs no Idempotency-Key: sent again, it is the same job.
    """
    async with transfers.slot():
        try:
            upload = await receive_upload(request, service, transfers)
        except Refusal as refusal:
            answer = error_response(refusal)
            if service.settings.body_limit_mb is not None:
                return answer  # nothing of the body is under way: it came in one piece
            return LingeringResponse(bytes(answer.body), answer.status_code, dict(answer.headers))
        return await transfers.run(lambda: service.create(upload, idempotency_key))


@router.head("/job/{job_id}", response_model=JobView, include_in_schema=False)
@router.get("/job/{job_id}", responses=refusals(RefusalCode.JOB_NOT_FOUND, RefusalCode.STORE_UNAVAILABLE))
def job(job_id: str, service: TheService) -> JobView:
    """The status of a job."""
    return service.status(job_id)


@router.get(
    "/jobs",
    responses=refusals(
        RefusalCode.INVALID_REQUEST, RefusalCode.STORE_UNAVAILABLE, RefusalCode.CLUSTER_UNAVAILABLE
    ),
)
def jobs(
    service: TheService,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Most jobs of a page.")] = 20,
    cursor: Annotated[
        str | None, QueryParameter(description="`next` of the page before; without it, the newest jobs.")
    ] = None,
    status: Annotated[
        Literal["processing", "completed", "failed"] | None,
        QueryParameter(description="Only jobs of this status."),
    ] = None,
    stage: Annotated[Standing | None, QueryParameter(description="Only jobs that stand there.")] = None,
) -> JobsPage:
    """The jobs, newest first. Go on with `cursor` as long as there is a `next`."""
    return service.jobs(Query(limit, cursor, status, stage))


@router.delete(
    "/job/{job_id}",
    status_code=204,
    responses=refusals(RefusalCode.JOB_NOT_FOUND, RefusalCode.STORE_UNAVAILABLE),
)
def delete_job(job_id: str, service: TheService) -> None:
    """Deletes a job with its song and its tracks, for good; one that is under way is ended."""
    service.delete(job_id)


@router.get(
    "/job/{job_id}/outputs", responses=refusals(RefusalCode.JOB_NOT_FOUND, RefusalCode.STORE_UNAVAILABLE)
)
def outputs(job_id: str, service: TheService) -> dict[Track, str]:
    """Where the tracks of a job lie; empty until it is completed."""
    return dict(service.status(job_id).outputs)
