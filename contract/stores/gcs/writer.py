"""Uploads in chunks, to an end that holds even when an answer gets lost."""

import base64
import logging
import secrets
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn, Self

import google_crc32c
from google.api_core.exceptions import (
    GoogleAPICallError,
    NotFound,
    RetryError,
    ServiceUnavailable,
    from_http_response,
)
from google.api_core.exceptions import PreconditionFailed as Status412
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests import Response
from requests.exceptions import RequestException

from contract.stores import CREATE_ONLY, ObjectInfo, PreconditionFailed, StoreError
from contract.stores.gcs.client import TRANSFER_TIMEOUT_SECONDS, Connection
from contract.stores.gcs.errors import DAMAGED, translated

CHUNK = 8 << 20
"""Bytes a request, and what a writer holds in memory (twice, while it sends). The library's default, 100 MiB
for files and 40 MiB for streams, is too much for an API with 64 transfers. A multiple of 256 KiB."""

_INCOMPLETE = 308
_GONE = 410
_CANCEL_SECONDS = 5.0  # no more: somebody may wait for the end of this process
_TOKEN = "stemjob-write"  # noqa: S105

log = logging.getLogger(__name__)


class Write:
    """One write under a token of its own, which the object carries as metadata.

    An answer can get lost after the write has landed. The repeated request then finds the object there, and
    the token tells whether it is ours: that is a success, somebody else's object is not. Content or checksum
    cannot tell, since two writers may send the same bytes.
    """

    def __init__(
        self, connection: Connection, key: str, name: str, content_type: str, if_generation: int | None
    ) -> None:
        """`key` is the store's name for the object, `name` the bucket's."""
        self.connection, self.content_type = connection, content_type
        self.key, self._name, self._if_generation = key, name, if_generation
        self._token = secrets.token_hex(16)

    def at_once(self, content: bytes) -> ObjectInfo:
        """Writes all of it in one request. Raises PreconditionFailed, and what the library raises."""
        blob = self._blob()
        try:
            blob.upload_from_string(
                content,
                content_type=self.content_type,
                if_generation_match=self._if_generation,
                checksum="crc32c",
                timeout=self.connection.timeout,
                retry=self.connection.retry,
            )
        except Status412 as error:
            blob = self.landed(error)
        return info_of(self.key, blob)

    def session(self, size: int | None = None, origin: str | None = None) -> str:
        """Starts a resumable upload. Its URL. Raises PreconditionFailed, and what the library raises."""
        try:
            url: str = self._blob().create_resumable_upload_session(
                content_type=self.content_type,
                size=size,
                origin=origin,
                checksum=None,  # there is no content yet
                if_generation_match=self._if_generation,
                timeout=self.connection.timeout,
                retry=self.connection.retry,
            )
        except Status412 as error:
            raise self._refused() from error
        return url

    def landed(self, error: GoogleAPICallError) -> storage.Blob:
        """What an earlier attempt of this very write has left. Raises PreconditionFailed, or `error`."""
        blob = self.connection.bucket.get_blob(
            self._name, timeout=self.connection.timeout, retry=self.connection.retry
        )
        if blob is not None and (blob.metadata or {}).get(_TOKEN) == self._token:
            return blob
        if isinstance(error, Status412):
            raise self._refused() from error
        return self.lost(error)

    def lost(self, error: GoogleAPICallError) -> NoReturn:
        """A session is not there: raises StoreError, or what the library raises when the bucket is not."""
        list(
            self.connection.client.list_blobs(
                self.connection.bucket,
                prefix=self._name,
                max_results=1,
                timeout=self.connection.timeout,
                retry=self.connection.retry,
            )
        )
        raise StoreError("Google Cloud Storage has lost the unfinished upload.") from error

    def info(self, resource: dict[str, Any]) -> ObjectInfo:
        """The object that the last answer of a resumable upload describes."""
        updated = datetime.fromisoformat(resource["updated"])
        return ObjectInfo(self.key, int(resource["size"]), int(resource["generation"]), updated)

    def check(self, found: ObjectInfo, crc32c: str, expected: bytes) -> None:
        """Removes what was just written, and raises StoreError, when its checksum is another."""
        if crc32c != base64.b64encode(expected).decode():
            self._remove(found)
            raise StoreError(DAMAGED)

    def _remove(self, found: ObjectInfo) -> None:
        connection = self.connection  # its retry, too: the library's own goes on for two minutes
        try:
            self._blob().delete(
                if_generation_match=found.generation, timeout=connection.timeout, retry=connection.retry
            )
        except (GoogleAPICallError, RetryError, RequestException, GoogleAuthError):
            log.warning("a damaged object may not have been removed: %s", self.key, exc_info=True)

    def _blob(self) -> storage.Blob:
        blob = self.connection.bucket.blob(self._name)
        blob.metadata = {_TOKEN: self._token}
        return blob

    def _refused(self) -> PreconditionFailed:
        if self._if_generation == CREATE_ONLY:
            return PreconditionFailed(f"{self.key} exists already.")
        return PreconditionFailed(f"{self.key} has changed in the meantime.")


class GcsWriter:
    """Gathers 8 MiB and sends them; an object of one chunk or less takes a single request, at `commit`."""

    def __init__(self, write: Write) -> None:
        self._write, self._connection = write, write.connection
        self._session = ""
        self._buffer = bytearray()
        self._sent = 0
        self._checksum = google_crc32c.Checksum()

    def write(self, block: bytes) -> None:
        self._checksum.update(block)
        rest = memoryview(block)
        while rest:
            if len(self._buffer) == CHUNK:  # only now is it known not to be the last one
                with translated(self._connection.bucket.name):
                    try:
                        self._send(last=False)
                    except NotFound as error:
                        self._write.lost(error)
            room = CHUNK - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]

    def commit(self) -> ObjectInfo:
        with translated(self._connection.bucket.name):
            if not self._session:
                return self._write.at_once(bytes(self._buffer))
            try:
                resource = self._send(last=True)
                info, crc32c = self._write.info(resource), resource["crc32c"]
            except (Status412, NotFound) as error:  # not found: the session, which ends with its upload
                blob = self._write.landed(error)
                info, crc32c = info_of(self._write.key, blob), blob.crc32c
            self._session = ""
            self._write.check(info, crc32c, self._checksum.digest())
            return info

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._session:
            return
        try:  # what is unfinished is invisible, and ends by itself after a week
            self._connection.session.delete(self._session, timeout=_CANCEL_SECONDS)
        except (RequestException, GoogleAuthError):
            log.info("an unfinished upload could not be cancelled", exc_info=True)
        self._session = ""

    def _send(self, *, last: bool) -> dict[str, Any]:
        """Sends the buffer and empties it. The object's resource after the last chunk, before it nothing."""
        if not self._session:
            self._session = self._write.session()
        end = self._sent + len(self._buffer)
        while self._buffer or last:
            response = self._connection.retry(self._put)(end, last)
            if response.status_code != _INCOMPLETE:
                resource: dict[str, Any] = response.json()
                return resource
            kept = _kept(response)  # perhaps less than it was given
            del self._buffer[: kept - self._sent]
            self._sent = kept
        return {}

    def _put(self, end: int, last: bool) -> Response:
        """One request. After a lost answer the server has these bytes already, and skips them."""
        part = f"{self._sent}-{end - 1}" if self._buffer else "*"
        response = self._connection.session.put(
            self._session,
            data=bytes(self._buffer),
            headers={
                "Content-Range": f"bytes {part}/{end if last else '*'}",
                "Content-Type": self._write.content_type,
            },
            timeout=TRANSFER_TIMEOUT_SECONDS,
            allow_redirects=False,
        )
        if response.status_code == _INCOMPLETE:
            if not self._sent < _kept(response) <= end:
                raise ServiceUnavailable("The server has kept nothing of a chunk.")
        elif response.status_code == _GONE:
            raise NotFound("The session has ended.")
        elif not response.ok:
            raise from_http_response(response)
        return response


def info_of(key: str, blob: storage.Blob) -> ObjectInfo:
    """What the store says of an object."""
    return ObjectInfo(key, blob.size, blob.generation, blob.updated)


def _kept(response: Response) -> int:
    """How many bytes of the upload the server has."""
    last = response.headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last else 0
