"""Answers whose body streams out of the store."""

from collections.abc import Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePosixPath

import anyio
import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.errors import Refusal, RefusalCode
from api.ranges import ByteRange, asked_range, attachment, etag_matches
from api.transfers import Transfers
from contract.manifest import Manifest, TrackRecord
from contract.stores import ObjectNotFound, Store, StoreError
from contract.tracks import Track

log = structlog.get_logger(__name__)

Blocks = Generator[bytes, None, None]


@dataclass(frozen=True)
class Download:
    """What can be downloaded: its size in bytes, and how to read it, whole or in part."""

    file_name: str
    media_type: str
    size: int
    etag: str
    read: Callable[[ByteRange | None], Blocks]


def track_download(store: Store, manifest: Manifest, track: Track, record: TrackRecord) -> Download:
    """One track, as its manifest records it."""

    def read(part: ByteRange | None) -> Blocks:
        if part is None:
            return store.read(record.key, generation=record.generation)
        return store.read(record.key, generation=record.generation, start=part.start, length=part.length)

    return Download(
        file_name=f"{song_title(manifest)} - {track}{PurePosixPath(record.key).suffix}",
        media_type=record.media_type,
        size=record.size,
        etag=f'"{record.sha256}"',
        read=read,
    )


def song_title(manifest: Manifest) -> str:
    """The uploaded file's name without its extension."""
    return PurePosixPath(manifest.file_name).stem


class DownloadResponse(StreamingResponse):
    """A 200, 206 or 304 whose body streams from blocking reads; a client that takes no byte is cut off."""

    def __init__(self, request: Request, download: Download, transfers: Transfers) -> None:
        """Raises Refusal when the asked range lies past the end."""
        self._download, self._transfers = download, transfers
        known = etag_matches(", ".join(request.headers.getlist("if-none-match")), download.etag)
        self._part = None if known else _asked_part(request, download)
        self._bodiless = known or request.method == "HEAD"
        headers = {"ETag": download.etag, "Accept-Ranges": "bytes"}
        if not known:
            headers["Content-Length"] = str(self._part.length if self._part else download.size)
            headers["Content-Disposition"] = attachment(download.file_name)
        if self._part is not None:
            headers["Content-Range"] = self._part.content_range
        super().__init__((), 304 if known else 206 if self._part else 200, headers, download.media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._transfers.slot():
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if not self._bodiless:
            # Opened before the first byte of the answer, so that a missing object is an honest error.
            try:
                source = await self._transfers.run(lambda: self._download.read(self._part))
            except ObjectNotFound:
                raise Refusal(RefusalCode.TRACK_NOT_FOUND, "Track not found") from None
            await send(start)
            await self._stream(source, send)
        else:
            await send(start)
        await send({"type": "http.response.body", "body": b""})

    async def _stream(self, source: Blocks, send: Send) -> None:
        try:
            async with aclosing(self._transfers.blocks(source)) as blocks:
                async for block in blocks:
                    with anyio.fail_after(self._transfers.idle_seconds):
                        await send({"type": "http.response.body", "body": block, "more_body": True})
        except TimeoutError:
            log.info("download_stalled", file_name=self._download.file_name)
            raise Interrupted from None
        except StoreError as error:
            log.exception("download_broken_off", file_name=self._download.file_name)
            raise Interrupted from error


def _asked_part(request: Request, download: Download) -> ByteRange | None:
    headers = request.headers
    return asked_range(headers.get("range"), headers.get("if-range"), download.etag, download.size)


class Interrupted(Exception):  # noqa: N818
    """A body broke off in the middle. The server closes the connection: the client sees that bytes miss."""
