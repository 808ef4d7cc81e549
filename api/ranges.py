"""Which bytes a request asks for (RFC 9110, sections 13 and 14). Pure functions over header texts."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from api.errors import Refusal, RefusalCode

_SINGLE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """`length` bytes from `start` on, of an object of `size` bytes."""

    start: int
    length: int
    size: int

    @property
    def content_range(self) -> str:
        """The Content-Range header of a 206."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def asked_range(range_header: str | None, if_range: str | None, etag: str, size: int) -> ByteRange | None:
    """The range that a request asks for; None for the whole.

    A header that is not understood, or several ranges at once, mean the whole, as the RFC allows; so does an
    If-Range that names another ETag.

    Raises:
        Refusal: `range_not_satisfiable` when the range begins past the end.
    """
    match = _SINGLE_RANGE.fullmatch(range_header.strip()) if range_header else None
    if match is None or (if_range is not None and if_range != etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
        satisfiable = int(last) > 0
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
        satisfiable = start < size
    if not satisfiable or size == 0:
        raise Refusal(
            RefusalCode.RANGE_NOT_SATISFIABLE,
            f"The range begins past the end of {size} bytes.",
            {"Content-Range": f"bytes */{size}"},
        )
    return ByteRange(start, end - start, size)


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Whether the client has this very content already."""
    known = {item.strip().removeprefix("W/") for item in if_none_match.split(",")}
    return "*" in known or etag.removeprefix("W/") in known


def attachment(file_name: str) -> str:
    """A Content-Disposition that saves as `file_name` (RFC 6266; the name itself by RFC 5987).

    Clients that do not know `filename*` see the ASCII part of the name.
    """
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
