"""A refusal in the middle of an upload that the client gets to read."""

import time

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_LINGER_SECONDS = 2.0
_LINGER_BYTES = 16_000_000


class LingeringResponse(Response):
    """Sends an answer, then takes a bounded rest of the request's body before the connection closes.

    A server that closes while the client still sends makes the client's system throw the answer away
    (RFC 9112, section 9.6). At most 16 MB or 2 seconds are taken, and nothing is kept.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        self.headers["Connection"] = "close"  # else the server reads the rest to find the next request
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        deadline, left = time.monotonic() + _LINGER_SECONDS, _LINGER_BYTES
        while left > 0:
            with anyio.move_on_after(deadline - time.monotonic()) as scope_:
                message = await receive()
            if scope_.cancelled_caught or not message.get("more_body", False):
                break
            left -= len(message.get("body", b""))
        await send({"type": "http.response.body", "body": b""})
