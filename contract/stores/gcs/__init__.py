"""A store in a bucket of Google Cloud Storage. The only package that knows the library google-cloud-storage.

The credentials need storage.objects.create, get, list and delete on the bucket (roles/storage.objectUser).
Without `list`, Google answers 403 in place of 404, so that what is merely absent looks forbidden.
"""

import secrets
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from google.api_core.exceptions import NotFound
from google.api_core.exceptions import PreconditionFailed as Status412
from google.cloud import storage

from contract.stores import (
    CREATE_ONLY,
    DirectStore,
    ObjectInfo,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
)
from contract.stores.gcs import reader
from contract.stores.gcs.client import connect
from contract.stores.gcs.errors import translated
from contract.stores.gcs.signing import signer
from contract.stores.gcs.writer import CHUNK, GcsWriter, Write, info_of

_PAGE = 1000  # as many as one answer to a listing may hold
_DELETIONS = 16
_ATTEMPTS = 5


class GcsStore:
    """Objects under a prefix of a bucket; generations are the bucket's own.

    Safe to use from many threads. An object can be replaced about once a second, by Google's limits.
    """

    def __init__(self, bucket: str, prefix: str = "", *, retry_seconds: float = 5.0) -> None:
        """Asks nothing of the bucket yet: it may be missing, or not ours.

        Args:
            bucket: its name.
            prefix: what all keys begin with in the bucket, without a slash at the end.
            retry_seconds: how long a request that failed for reasons that pass is tried again. One without
                much content ends, at the worst, after twice that; a chunk of 8 MiB may take 60 s more.

        Raises:
            StoreError: there are no credentials, or they cannot be read.
            ValueError: STORAGE_EMULATOR_HOST is not a URL.
        """
        self._prefix = f"{prefix}/" if prefix else ""
        with translated(bucket):
            self._connection = connect(bucket, retry_seconds)
        self._bucket = self._connection.bucket
        self._options = {"timeout": self._connection.timeout, "retry": self._connection.retry}
        self._seen = False

    def uri(self, key: str) -> str:
        return f"gs://{self._bucket.name}/{self._name(key)}"

    def writer(self, key: str, *, content_type: str, if_generation: int | None = None) -> GcsWriter:
        return GcsWriter(self._write(key, content_type, if_generation))

    def put(
        self, key: str, content: bytes, *, content_type: str, if_generation: int | None = None
    ) -> ObjectInfo:
        with self.writer(key, content_type=content_type, if_generation=if_generation) as writer:
            writer.write(content)
            return writer.commit()

    def put_file(
        self, key: str, path: Path, *, content_type: str, if_generation: int | None = None
    ) -> ObjectInfo:
        writer = self.writer(key, content_type=content_type, if_generation=if_generation)
        with translated(self._bucket.name), path.open("rb") as file, writer:
            while block := file.read(CHUNK):
                writer.write(block)
            return writer.commit()

    def stat(self, key: str) -> ObjectInfo | None:
        blob = self._blob(key)
        return None if blob is None else info_of(key, blob)

    def get(self, key: str) -> tuple[bytes, ObjectInfo] | None:
        for _ in range(_ATTEMPTS):
            blob = self._blob(key)
            if blob is None:
                return None
            try:
                with translated(self._bucket.name):
                    return self._download(blob), info_of(key, blob)
            except ObjectNotFound:
                continue
        raise StoreError(f"{key} changes too often to be read.")

    def read(
        self, key: str, *, generation: int | None = None, start: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        blocks = self._blocks(key, generation, start, length)
        next(blocks)  # opens it, so that a missing object is an error here and not in the middle
        return blocks

    def fetch(self, key: str, path: Path, *, generation: int | None = None) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        blob = self._bucket.blob(self._name(key), generation=generation)
        try:
            with translated(self._bucket.name):
                try:
                    # One request; when it breaks off, the library goes on from there. CRC-32C is checked.
                    blob.download_to_filename(temporary, checksum="crc32c", **self._options)
                except NotFound:
                    raise self._absent(key, generation) from None
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def list(self, prefix: str, start: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        with translated(self._bucket.name):
            for blob in self._listed(prefix, limit, start):
                yield info_of(blob.name.removeprefix(self._prefix), blob)

    def delete(self, key: str) -> None:
        with translated(self._bucket.name):
            self._remove(self._name(key))

    def delete_prefix(self, prefix: str) -> None:
        # One request for each, side by side, and not the library's batches: those are not retried, hide
        # which of their parts failed, and carry no Content-ID, without which the emulator skips them.
        with translated(self._bucket.name), ThreadPoolExecutor(_DELETIONS, "delete") as pool:
            while names := [blob.name for blob in self._listed(prefix, max_results=_PAGE)]:
                for _ in pool.map(self._remove, names):
                    pass

    def download_url(
        self, key: str, *, generation: int, disposition: str, content_type: str, seconds: int
    ) -> str:
        with translated(self._bucket.name):
            url: str = self._bucket.blob(self._name(key)).generate_signed_url(
                version="v4",  # the default is v2, which Google calls legacy
                expiration=timedelta(seconds=seconds),
                method="GET",
                generation=generation,
                response_disposition=disposition,
                response_type=content_type,
                credentials=signer(self._connection.credentials, self._connection.timeout),
            )
        return url

    def upload_url(self, key: str, *, content_type: str, size: int, origin: str | None = None) -> str:
        with translated(self._bucket.name):
            return self._write(key, content_type, CREATE_ONLY).session(size, origin)

    def compose(self, key: str, parts: Sequence[tuple[str, int]], *, content_type: str) -> ObjectInfo:
        blob = self._bucket.blob(self._name(key))
        blob.content_type = content_type
        sources = [self._bucket.blob(self._name(part), generation=generation) for part, generation in parts]
        with translated(self._bucket.name):
            try:
                blob.compose(sources, if_generation_match=CREATE_ONLY, **self._options)
            except Status412 as error:
                raise PreconditionFailed(f"{key} exists already.") from error
            except NotFound as error:
                self._expect_bucket()
                raise ObjectNotFound(f"A part of {key} is not there in its generation.") from error
        return info_of(key, blob)

    def _name(self, key: str) -> str:
        if any(part in ("", ".", "..") for part in key.split("/")) or set(key) & set("\0\r\n"):
            raise StoreError(f"{key!r} is not a key of a store.")
        return self._prefix + key

    def _write(self, key: str, content_type: str, if_generation: int | None) -> Write:
        return Write(self._connection, key, self._name(key), content_type, if_generation)

    def _blob(self, key: str) -> storage.Blob | None:
        with translated(self._bucket.name):
            blob = self._bucket.get_blob(self._name(key), **self._options)
            if blob is None:
                self._expect_bucket()
        return blob

    def _download(self, blob: storage.Blob) -> bytes:
        """The content in the generation that was just seen. Raises ObjectNotFound when it is no more."""
        # Not by `blob` itself: that follows the link in its metadata, and an emulator's may lead elsewhere.
        pinned = self._bucket.blob(blob.name, generation=blob.generation)
        try:
            content: bytes = pinned.download_as_bytes(**self._options)
        except NotFound:
            raise ObjectNotFound(blob.name) from None
        return content

    def _listed(self, prefix: str, max_results: int | None = None, start: str = "") -> Iterator[storage.Blob]:
        blobs: Iterator[storage.Blob] = self._connection.client.list_blobs(
            self._bucket,
            prefix=self._prefix + prefix,
            start_offset=self._prefix + start if start else None,
            max_results=max_results,
            page_size=_PAGE,
            fields="items(name,size,generation,updated),nextPageToken",
            **self._options,
        )
        return blobs

    def _remove(self, name: str) -> None:
        try:
            self._bucket.blob(name).delete(**self._options)
        except NotFound:
            self._expect_bucket()

    def _blocks(
        self, key: str, generation: int | None, start: int, length: int | None
    ) -> Generator[bytes, None, None]:
        with translated(self._bucket.name):
            try:
                yield from reader.blocks(self._connection, self._name(key), generation, start, length)
            except NotFound:
                raise self._absent(key, generation) from None

    def _absent(self, key: str, generation: int | None) -> ObjectNotFound:
        self._expect_bucket()
        return ObjectNotFound(
            f"{key} is not there."
            if generation is None
            else f"{key} is not there in generation {generation}."
        )

    def _expect_bucket(self) -> None:
        """Tells a missing bucket from a missing object: both are 404. The first time costs one request."""
        if not self._seen:
            list(self._listed("", max_results=1))
            self._seen = True


def _is_a_store(store: GcsStore) -> DirectStore:
    """Lets the type checker prove that this class keeps the promise."""
    return store
