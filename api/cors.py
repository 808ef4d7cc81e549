"""Which web pages may do what: any may upload, follow and download, only named ones may list and delete."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_EXPOSED = ["X-Request-ID", "X-API-Version", "Content-Disposition", "Content-Range", "ETag"]


class Cors:
    """CORS, never with credentials, by two rules."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """`origins` are those that may also list and delete jobs."""
        self._anyone = CORSMiddleware(
            app,
            allow_origins=["*"],
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
        self._named = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = self._named if scope["type"] == "http" and _is_for_named(scope) else self._anyone
        await rule(scope, receive, send)


def _is_for_named(scope: Scope) -> bool:
    asked = Headers(scope=scope).get("access-control-request-method", scope["method"])
    return asked == "DELETE" or scope["path"] == "/jobs"
