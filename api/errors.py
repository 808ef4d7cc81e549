"""Every refusal of the API: `{"detail": sentence, "code": stable word}` under its HTTP status."""

from enum import StrEnum

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from api.launchers import LauncherUnavailable, LaunchRefused, QuotaExceeded
from api.metrics import count_refusal
from contract.stores import StoreError

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 5


class RefusalCode(StrEnum):
    """Why a request was refused. Programs read these words, so they never change."""

    NO_FILENAME = "no_filename"
    UNSUPPORTED_FORMAT = "unsupported_format"
    INVALID_AUDIO = "invalid_audio"
    DURATION_EXCEEDED = "duration_exceeded"
    TOO_LARGE = "too_large"
    UNKNOWN_MODEL = "unknown_model"
    INVALID_OPTION = "invalid_option"
    INVALID_REQUEST = "invalid_request"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    UPLOAD_NOT_FOUND = "upload_not_found"
    UPLOAD_INCOMPLETE = "upload_incomplete"
    UPLOAD_USED = "upload_used"
    NOT_READY = "not_ready"
    JOB_NOT_FOUND = "job_not_found"
    TRACK_NOT_FOUND = "track_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UPLOAD_STALLED = "upload_stalled"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    QUOTA_EXCEEDED = "quota_exceeded"
    STORE_UNAVAILABLE = "store_unavailable"
    CLUSTER_UNAVAILABLE = "cluster_unavailable"
    BUSY = "busy"
    INTERNAL_ERROR = "internal_error"
    UPLOADS_UNAVAILABLE = "uploads_unavailable"
    EVENTS_UNAVAILABLE = "events_unavailable"


HTTP_STATUS: dict[RefusalCode, int] = {
    RefusalCode.NO_FILENAME: 400,
    RefusalCode.UNSUPPORTED_FORMAT: 400,
    RefusalCode.INVALID_AUDIO: 400,
    RefusalCode.DURATION_EXCEEDED: 400,
    RefusalCode.TOO_LARGE: 413,
    RefusalCode.UNKNOWN_MODEL: 400,
    RefusalCode.INVALID_OPTION: 400,
    RefusalCode.INVALID_REQUEST: 400,
    RefusalCode.IDEMPOTENCY_KEY_REUSED: 422,
    RefusalCode.UPLOAD_NOT_FOUND: 404,
    RefusalCode.UPLOAD_INCOMPLETE: 409,
    RefusalCode.UPLOAD_USED: 409,
    RefusalCode.NOT_READY: 409,
    RefusalCode.JOB_NOT_FOUND: 404,
    RefusalCode.TRACK_NOT_FOUND: 404,
    RefusalCode.NOT_FOUND: 404,
    RefusalCode.METHOD_NOT_ALLOWED: 405,
    RefusalCode.UPLOAD_STALLED: 408,
    RefusalCode.RANGE_NOT_SATISFIABLE: 416,
    RefusalCode.QUOTA_EXCEEDED: 429,
    RefusalCode.STORE_UNAVAILABLE: 503,
    RefusalCode.CLUSTER_UNAVAILABLE: 503,
    RefusalCode.BUSY: 503,
    RefusalCode.INTERNAL_ERROR: 500,
    RefusalCode.UPLOADS_UNAVAILABLE: 501,
    RefusalCode.EVENTS_UNAVAILABLE: 501,
}


class Refusal(Exception):  # noqa: N818 - it reads as what happens: raise Refusal(...)
    """Ends a request with a refusal: a code, a sentence for people, headers if the status wants them."""

    def __init__(self, code: RefusalCode, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail
        self.headers = dict(headers or {})
        if self.status in (429, 503):
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))

    @property
    def status(self) -> int:
        """The HTTP status of this refusal."""
        return HTTP_STATUS[self.code]


class ErrorAnswer(BaseModel):
    """The body of every refusal: a sentence for people, a stable code for programs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"detail": "Job not found", "code": "job_not_found"}]}
    )

    detail: str
    code: RefusalCode


def error_response(refusal: Refusal) -> JSONResponse:
    """The refusal as an HTTP answer."""
    count_refusal(refusal.code)
    body = {"detail": refusal.detail, "code": refusal.code.value}
    return JSONResponse(body, refusal.status, refusal.headers)


def internal_error() -> Refusal:
    """What a client hears of an error that nobody foresaw; the log has the rest."""
    return Refusal(RefusalCode.INTERNAL_ERROR, "The server met an unexpected error; its log says more.")


def add_error_handlers(app: FastAPI) -> None:
    """Every error that an endpoint can raise becomes a refusal."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(StoreError)
    async def store_failed(_: Request, error: StoreError) -> JSONResponse:
        log.error("store_unavailable", error=str(error), cause=repr(error.__cause__))
        return error_response(Refusal(RefusalCode.STORE_UNAVAILABLE, str(error)))

    @app.exception_handler(LauncherUnavailable)
    async def launcher_failed(_: Request, error: LauncherUnavailable) -> JSONResponse:
        return error_response(Refusal(RefusalCode.CLUSTER_UNAVAILABLE, str(error)))

    @app.exception_handler(LaunchRefused)
    async def launch_refused(_: Request, error: LaunchRefused) -> JSONResponse:
        full = isinstance(error, QuotaExceeded)
        code = RefusalCode.QUOTA_EXCEEDED if full else RefusalCode.INTERNAL_ERROR
        return error_response(Refusal(code, str(error)))

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        match error.status_code:
            case 404:
                refusal = Refusal(RefusalCode.NOT_FOUND, "There is nothing at this address.")
            case 405:
                refusal = Refusal(
                    RefusalCode.METHOD_NOT_ALLOWED,
                    "This address has no such method.",
                    dict(error.headers or {}),
                )
            case _:
                refusal = Refusal(RefusalCode.INVALID_REQUEST, str(error.detail))
        return error_response(refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return error_response(
            Refusal(RefusalCode.INVALID_REQUEST, f"The request is not understood: {problems}.")
        )
