"""What a written file is known by: its size and checksums."""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class WrittenFile:
    """A finished file: `size` in bytes, `crc32` as in a ZIP, `sha256` in hex."""

    path: Path
    size: int
    crc32: int
    sha256: str


def fingerprint(path: Path) -> WrittenFile:
    """Reads the file once. Raises OSError."""
    size, crc, digest = 0, 0, hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_AT_ONCE):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
            digest.update(chunk)
    return WrittenFile(path, size, crc, digest.hexdigest())
