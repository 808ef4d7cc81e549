"""A streamed download that goes on where it broke off."""

from collections.abc import Generator
from urllib.parse import quote

from google.api_core.exceptions import from_http_response
from requests import Response
from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout  # noqa: A004

from contract.stores import CHUNK_BYTES
from contract.stores.gcs.client import Connection

_RANGE_NOT_SATISFIABLE = 416
_BROKEN = (ChunkedEncodingError, ConnectionError, Timeout)


def blocks(
    connection: Connection, name: str, generation: int | None, start: int, length: int | None
) -> Generator[bytes, None, None]:
    """The object's bytes from `start` on; the first `next` opens it and gives an empty block.

    One request streams all of it, so that memory holds one block, whatever the size. When the connection
    breaks, another one continues at the next byte of the same generation.

    Raises:
        NotFound: there is no such object or bucket, or it was replaced or deleted before or, when the
            connection breaks, while it is read.
        Exception: what else the library raises.
    """
    # A range cannot be empty in HTTP. For nothing at all the object is opened, and then not read.
    stop = None if length is None else start + max(length, 1)
    response = _opened(connection, name, generation, start, stop)
    try:
        yield b""
        if length == 0 or response.status_code == _RANGE_NOT_SATISFIABLE:
            return
        generation = generation or int(response.headers["x-goog-generation"])
        broken_at = None
        while True:
            try:
                for block in response.iter_content(CHUNK_BYTES):
                    start += len(block)
                    yield block
            except _BROKEN:
                if start == broken_at:  # no byte since the last time: it will not get better
                    raise
                broken_at = start
                response.close()
                response = _opened(connection, name, generation, start, stop)
            else:
                return
    finally:
        response.close()


def _opened(
    connection: Connection, name: str, generation: int | None, start: int, stop: int | None
) -> Response:
    url = (
        f"{connection.client.api_endpoint}/download/storage/v1/b/{connection.bucket.name}"
        f"/o/{quote(name, safe='')}?alt=media" + (f"&generation={generation}" if generation else "")
    )
    headers = {"Accept-Encoding": "identity"}
    if start or stop is not None:  # an object without bytes has no range, not even "0-"
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"

    def ask() -> Response:
        response = connection.session.get(url, headers=headers, stream=True, timeout=connection.timeout)
        if response.ok or response.status_code == _RANGE_NOT_SATISFIABLE:
            return response
        with response:
            raise from_http_response(response)

    return connection.retry(ask)()
