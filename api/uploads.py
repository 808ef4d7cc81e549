"""The body of POST /process, from the socket into the intake."""

import structlog
from anyio import fail_after
from starlette.requests import ClientDisconnect, Request

from api.errors import Refusal, RefusalCode
from api.service import Service
from api.song import Upload
from api.transfers import Transfers

log = structlog.get_logger(__name__)

_BATCH_BYTES = 1 << 20
"""So much is collected before a thread parses, hashes and writes it."""


async def receive_upload(request: Request, service: Service, transfers: Transfers) -> Upload:
    """Streams the body into the store, memory bounded. What is not a good upload leaves nothing behind.

    Raises:
        Refusal: what the client did wrong.
        StoreError: the store failed.
    """
    with service.intake(request.headers.get("content-type", "")) as intake:
        batch = bytearray()
        stream = request.stream()
        while True:
            try:
                with fail_after(transfers.idle_seconds):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise Refusal(RefusalCode.UPLOAD_STALLED, "The upload stood still for too long.") from None
            except ClientDisconnect:
                log.info("upload_broken_off")
                raise Refusal(RefusalCode.INVALID_REQUEST, "The upload was broken off.") from None
            batch += chunk or b""
            if len(batch) >= _BATCH_BYTES or (chunk is None and batch):
                content = bytes(batch)
                batch.clear()
                await transfers.run(lambda content=content: intake.feed(content))  # type: ignore[misc]
            if chunk is None:
                return await transfers.run(intake.finish)
