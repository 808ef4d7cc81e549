"""Uploads that go straight to the bucket."""

from typing import Annotated

from anyio import fail_after, to_thread
from fastapi import APIRouter, Header, Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from api.direct_uploads import UploadOffer, UploadRequest
from api.errors import Refusal, RefusalCode
from api.routes.shared import TheService, TheTransfers, refusals
from api.transfers import Transfers

router = APIRouter(tags=["jobs"])

_MAX_BODY_BYTES = 65_536


@router.post(
    "/uploads",
    responses=refusals(
        RefusalCode.NO_FILENAME,
        RefusalCode.UNSUPPORTED_FORMAT,
        RefusalCode.INVALID_AUDIO,
        RefusalCode.INVALID_REQUEST,
        RefusalCode.UPLOAD_STALLED,
        RefusalCode.TOO_LARGE,
        RefusalCode.STORE_UNAVAILABLE,
        RefusalCode.UPLOADS_UNAVAILABLE,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": UploadRequest.model_json_schema()}},
        }
    },
)
async def announce_upload(
    request: Request,
    service: TheService,
    transfers: TheTransfers,
    origin: Annotated[str | None, Header()] = None,
) -> UploadOffer:
    """A place in the bucket for a song, which POST /process then takes by its `upload_id`."""
    asked = await _read(request, transfers)
    return await to_thread.run_sync(service.offer_upload, asked, origin)


async def _read(request: Request, transfers: Transfers) -> UploadRequest:
    """The body. Not by FastAPI, which takes one of any size into memory. Raises Refusal."""
    body = b""
    try:
        with fail_after(transfers.idle_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_BODY_BYTES:
                    raise Refusal(RefusalCode.INVALID_REQUEST, "The request's body is too long.")
        return UploadRequest.model_validate_json(body)
    except TimeoutError:
        raise Refusal(RefusalCode.UPLOAD_STALLED, "The request stood still for too long.") from None
    except ClientDisconnect:
        raise Refusal(RefusalCode.INVALID_REQUEST, "The request was broken off.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "body"
        raise Refusal(
            RefusalCode.INVALID_REQUEST, f"The request is not understood: {where}: {problem['msg']}."
        ) from error
