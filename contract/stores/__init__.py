"""Object stores: bytes under keys, with generations, in a folder or in a bucket.

`Store` is the promise; `open_store` chooses by URL scheme. A store's client library is imported in that
store's module alone, and only when it is used.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 18
"""Reads hand out blocks of at most this many bytes."""

CREATE_ONLY = 0
"""As `if_generation`: write only if nothing is there."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object: key, size in bytes, generation (another number after every write), time of the write."""

    key: str
    size: int
    generation: int
    updated: datetime


class StoreError(Exception):
    """The store cannot do it now or at all; the message is a sentence. The base of the errors below."""


class ObjectNotFound(StoreError):  # noqa: N818
    """No such object, or not in that generation."""


class PreconditionFailed(StoreError):  # noqa: N818
    """The object is not in the generation that the write asked for (`CREATE_ONLY`: it exists)."""


class StoreFull(StoreError):  # noqa: N818
    """No space left."""


class CannotSign(StoreError):  # noqa: N818
    """The credentials in use cannot sign download links. The object itself can be read all the same."""


class Writer(Protocol):
    """A write in progress: nothing is visible until `commit`; leaving the context without it aborts."""

    def write(self, block: bytes) -> None:
        """Appends `block`. Raises StoreError."""

    def commit(self) -> ObjectInfo:
        """Makes the object visible as a whole. Raises PreconditionFailed, StoreError."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """Every method may raise StoreError. Keys are relative, `/`-separated, without `.` and `..` parts.

    Writes are atomic: a reader sees the old object, the new one or none, never half of one.
    `if_generation` None overwrites, `CREATE_ONLY` creates, another number replaces just that generation.
    """

    def uri(self, key: str) -> str:
        """Where the object lies, as a person or another program would name it."""

    def writer(self, key: str, *, content_type: str, if_generation: int | None = None) -> Writer:
        """Starts a streamed write."""

    def put(
        self, key: str, content: bytes, *, content_type: str, if_generation: int | None = None
    ) -> ObjectInfo:
        """Writes a small object at once. Raises PreconditionFailed."""

    def put_file(
        self, key: str, path: Path, *, content_type: str, if_generation: int | None = None
    ) -> ObjectInfo:
        """Writes a local file, which the caller must not change afterwards. Raises PreconditionFailed."""

    def stat(self, key: str) -> ObjectInfo | None:
        """What is there now; None when nothing is."""

    def get(self, key: str) -> tuple[bytes, ObjectInfo] | None:
        """A small object as a whole; None when it is not there."""

    def read(
        self, key: str, *, generation: int | None = None, start: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        """The bytes from `start` on, `length` of them, in blocks. Raises ObjectNotFound at once.

        Whoever does not read to the end calls `close` on it.
        """

    def fetch(self, key: str, path: Path, *, generation: int | None = None) -> None:
        """Makes the object readable as the local file `path`. Raises ObjectNotFound."""

    def list(self, prefix: str, start: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in the order of keys.

        From the key `start` on, and at most `limit` of them.
        """

    def delete(self, key: str) -> None:
        """Removes the object; not an error when it is not there."""

    def delete_prefix(self, prefix: str) -> None:
        """Removes every object whose key begins with `prefix`."""


@runtime_checkable
class DirectStore(Store, Protocol):
    """A store that others can reach by themselves, with a link from us. Which one can: `isinstance`."""

    def download_url(
        self, key: str, *, generation: int, disposition: str, content_type: str, seconds: int
    ) -> str:
        """A link that downloads just that generation, by GET, within so many seconds (at most 7 days).

        The answer carries `disposition` as its Content-Disposition and `content_type` as its Content-Type.
        Whether the object is there is not looked at. Raises CannotSign.
        """

    def upload_url(self, key: str, *, content_type: str, size: int, origin: str | None = None) -> str:
        """A link to which `size` bytes can be sent by PUT, in parts if wanted, as a new object.

        It works for about a week, for whoever has it, and from web pages of `origin`. When the key exists
        at the end, the upload is refused. Raises PreconditionFailed when it exists already.
        """

    def compose(self, key: str, parts: Sequence[tuple[str, int]], *, content_type: str) -> ObjectInfo:
        """Makes a new object of others, joined in order, without moving a byte through this machine.

        `parts` are keys and generations, at most 32. Raises PreconditionFailed when the key exists already,
        ObjectNotFound when a part is not there in its generation.
        """


def absolute_url(url: str) -> str:
    """The same store's URL, with a relative folder made absolute."""
    parts = urlsplit(url)
    return f"file://{Path(parts.netloc + parts.path).resolve()}" if parts.scheme == "file" else url


def open_store(url: str, *, retry_seconds: float = 5.0) -> Store:
    """The store at `url`.

    Args:
        url: `file:///absolute/folder`, `file://./relative/folder`, `gs://bucket` or `gs://bucket/prefix`.
        retry_seconds: how long requests over the network are tried again when something passing went wrong.
            The default suits whoever waits for an HTTP answer.

    Raises:
        ValueError: the URL cannot be understood; the message says what is known.
        StoreError: the store cannot be used, or its library is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        from contract.stores.filesystem import FileStore

        return FileStore(Path(parts.netloc + parts.path).resolve())
    if parts.scheme == "gs":
        bucket, prefix = _bucket_and_prefix(url)
        try:
            from contract.stores.gcs import GcsStore
        except ImportError as error:
            raise StoreError("A gs:// store needs more packages: install stemjob[gcs].") from error
        return GcsStore(bucket, prefix, retry_seconds=retry_seconds)
    raise ValueError(f"STEMJOB_STORE is {url!r}, but a store's URL begins with file:// or gs://")


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    # Not by urlsplit: to a bucket, # and ? are characters like others.
    bucket, _, prefix = url.removeprefix("gs://").partition("/")
    prefix = prefix.strip("/")
    if not bucket:
        raise ValueError(
            f"STEMJOB_STORE is {url!r}, which names no bucket: it must be gs://<bucket>/<prefix>"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", bucket) or ".." in prefix or "//" in prefix:
        raise ValueError(f"STEMJOB_STORE is {url!r}, but a bucket's URL is gs://<bucket>/<prefix>")
    return bucket, prefix
