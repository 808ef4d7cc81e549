"""Around every request: its id, the API's version, one line in the log, and no error without an answer."""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.downloads import Interrupted
from api.errors import error_response, internal_error
from api.metrics import count_request
from api.version import VERSION

log = structlog.get_logger("api.access")


_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestMiddleware:
    """Adds `X-Request-ID` (the client's own, if it sent a sane one) and `X-API-Version` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _SANE_ID.fullmatch(asked) else str(uuid.uuid4())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-API-Version"] = VERSION
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        finally:
            seconds = round(time.perf_counter() - started, 6)
            count_request(scope, status, seconds)
            job = scope.get("path_params", {}).get("job_id")  # the router puts it there
            about = {"job_id": job} if job else {}
            log.info(
                "request", method=scope["method"], path=scope["path"], status=status, seconds=seconds, **about
            )


class LastResort:
    """Turns what nobody caught into an answer. Innermost, so that it gets the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def send_noting(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Interrupted:
            pass  # logged where it broke; the server closes a connection whose answer is not whole
        except Exception:
            log.exception("unexpected_error")
            if scope["type"] == "http" and not began:
                await error_response(internal_error())(scope, receive, send)
