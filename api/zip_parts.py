"""The parts of a ZIP file that are not its content, made before a byte of the content is read.

Entries are stored, not compressed: audio hardly shrinks, and so a ZIP can be put together of objects as they
lie in a bucket. PKWARE's APPNOTE.TXT 6.3.10 is the format (https://support.pkware.com/pkzip/appnote); numbers
of its sections stand beside the structures. From 4 GiB on, sizes and places are written as its ZIP64 wants.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

_LIMIT = 0xFFFFFFFF  # what does not fit below stands in a ZIP64 field, and this in its place
_VERSION, _VERSION_ZIP64 = 20, 45
_UNIX, _MODE = 3, 0o100644
_UTF8 = 1 << 11
_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_CENTRAL = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_END_ZIP64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR_ZIP64 = struct.Struct("<4sLQL")  # 4.3.15
_END = struct.Struct("<4s4H2LH")  # 4.3.16


@dataclass(frozen=True)
class Entry:
    """One file in a ZIP: its name there, its size in bytes, the CRC-32 of its content."""

    name: str
    size: int
    crc32: int


def zip_parts(entries: Sequence[Entry], made: datetime) -> list[bytes]:
    """What stands before the content of each entry, and what stands after the last one: one part more.

    The same arguments give the same bytes. `made` is written as the time of every entry, without a time zone
    and in steps of two seconds, as ZIP has it.
    """
    headers = [_local(entry, made) for entry in entries]
    ends = list(accumulate(len(header) + entry.size for header, entry in zip(headers, entries, strict=True)))
    starts = [0, *ends[:-1]]
    directory = b"".join(_central(entry, made, start) for entry, start in zip(entries, starts, strict=True))
    return [*headers, directory + _end(len(entries), len(directory), ends[-1] if ends else 0)]


def _local(entry: Entry, made: datetime) -> bytes:
    name, large = entry.name.encode(), entry.size >= _LIMIT
    extra = _zip64(entry.size, entry.size) if large else b""
    size = _LIMIT if large else entry.size
    fields = (_version(large), _UTF8, 0, *_dos(made), entry.crc32, size, size, len(name), len(extra))
    return _LOCAL.pack(b"PK\3\4", *fields) + name + extra


def _central(entry: Entry, made: datetime, start: int) -> bytes:
    name = entry.name.encode()
    large = [number for number in (entry.size, entry.size, start) if number >= _LIMIT]
    extra = _zip64(*large) if large else b""
    version, size = _version(bool(large)), min(entry.size, _LIMIT)
    fields = (version | _UNIX << 8, version, _UTF8, 0, *_dos(made), entry.crc32, size, size)
    lengths = (len(name), len(extra), 0, 0, 0)
    return _CENTRAL.pack(b"PK\1\2", *fields, *lengths, _MODE << 16, min(start, _LIMIT)) + name + extra


def _end(entries: int, size: int, start: int) -> bytes:
    """The end of a directory of `size` bytes that begins at `start`."""
    end = _END.pack(b"PK\5\6", 0, 0, entries, entries, size, min(start, _LIMIT), 0)
    if start < _LIMIT:
        return end
    # The record's own size does not count its first twelve bytes.
    fields = (_END_ZIP64.size - 12, _VERSION_ZIP64, _VERSION_ZIP64, 0, 0, entries, entries, size, start)
    locator = _LOCATOR_ZIP64.pack(b"PK\6\7", 0, start + size, 1)
    return _END_ZIP64.pack(b"PK\6\6", *fields) + locator + end


def _zip64(*numbers: int) -> bytes:
    """The extra field of an entry whose numbers do not fit (4.5.3)."""
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def _version(zip64: bool) -> int:
    return _VERSION_ZIP64 if zip64 else _VERSION


def _dos(made: datetime) -> tuple[int, int]:
    """Time and date as DOS has them (4.4.6)."""
    time = made.hour << 11 | made.minute << 5 | made.second // 2
    return time, max(made.year - 1980, 0) << 9 | made.month << 5 | made.day
