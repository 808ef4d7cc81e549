"""All tracks of a job as one ZIP: streamed, or put together inside the bucket. The same bytes either way."""

import hashlib
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from api.downloads import Blocks, Download, song_title
from api.ranges import ByteRange
from api.zip_parts import Entry, zip_parts
from contract.layout import archive_key, archive_part_key, archive_parts_prefix
from contract.manifest import Manifest, TrackRecord
from contract.stores import DirectStore, ObjectInfo, PreconditionFailed, Store

MEDIA_TYPE = "application/zip"

Piece = bytes | TrackRecord


def archive_download(store: Store, manifest: Manifest) -> Download:
    """The ZIP, whose bytes follow from the manifest: a broken download of it can be resumed."""
    pieces = _pieces(manifest)
    size = sum(map(_size, pieces))

    def read(part: ByteRange | None) -> Blocks:
        return _read(store, pieces, part or ByteRange(0, size, size))

    parts = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    sums = "".join(record.sha256 for record in manifest.tracks.values())
    return Download(
        file_name=f"{song_title(manifest)} - tracks.zip",
        media_type=MEDIA_TYPE,
        size=size,
        etag=f'"{hashlib.sha256(parts + sums.encode()).hexdigest()}"',
        read=read,
    )


def compose_archive(store: DirectStore, manifest: Manifest) -> ObjectInfo:
    """Makes the ZIP an object of its own among those of the job, or finds what somebody else just made.

    Its parts between the tracks are objects only meanwhile; a process that dies leaves them, a few hundred
    bytes each, until the job is deleted. Raises ObjectNotFound when a track is gone, StoreError.
    """
    key = archive_key(manifest.answer.job_id)
    folder = archive_parts_prefix(manifest.answer.job_id, secrets.token_hex(8))
    pieces = list(enumerate(_pieces(manifest)))

    def place(numbered: tuple[int, Piece]) -> tuple[str, int]:
        number, piece = numbered
        if isinstance(piece, TrackRecord):
            return piece.key, piece.generation
        written = store.put(archive_part_key(folder, number), piece, content_type="application/octet-stream")
        return written.key, written.generation

    try:
        with ThreadPoolExecutor(len(pieces), "archive") as pool:
            places = list(pool.map(place, pieces))
        return store.compose(key, places, content_type=MEDIA_TYPE)
    except PreconditionFailed:  # somebody else was faster, with the same bytes
        found = store.stat(key)
        if found is None:
            raise
        return found
    finally:
        store.delete_prefix(folder)


def _pieces(manifest: Manifest) -> Sequence[Piece]:
    """What the ZIP consists of, in order: parts of its own, and tracks."""
    entries = [
        Entry(f"{track}{PurePosixPath(record.key).suffix}", record.size, record.crc32)
        for track, record in manifest.tracks.items()
    ]
    *headers, end = zip_parts(entries, manifest.finished_at)
    between = zip(headers, manifest.tracks.values(), strict=True)
    return [*(piece for pair in between for piece in pair), end]


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.size


def _read(store: Store, pieces: Sequence[Piece], asked: ByteRange) -> Blocks:
    """The asked bytes. Objects are opened only when their turn comes."""
    skip, left = asked.start, asked.length
    for piece in pieces:
        length = min(_size(piece) - skip, left)
        if length > 0:
            if isinstance(piece, bytes):
                yield piece[skip : skip + length]
            else:
                yield from store.read(piece.key, generation=piece.generation, start=skip, length=length)
            left -= length
        skip = max(0, skip - _size(piece))
