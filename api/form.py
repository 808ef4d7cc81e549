"""A multipart form as a stream of events: `feed` bytes as they come, read what they complete.

python-multipart does the parsing (RFC 7578) and limits the headers of a part, the only thing collected here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from api.errors import Refusal, RefusalCode


@dataclass(frozen=True)
class PartBegin:
    """A part begins. `file_name` is None when the part names none."""

    name: str
    file_name: str | None


@dataclass(frozen=True)
class PartData:
    """Some bytes of the present part."""

    content: bytes


@dataclass(frozen=True)
class PartEnd:
    """The present part is whole."""


Event = PartBegin | PartData | PartEnd


class MultipartForm:
    """Turns the bytes of a multipart/form-data body into events."""

    def __init__(self, content_type: str) -> None:
        """Takes the request's Content-Type. Raises Refusal `no_filename` when it is no multipart form."""
        kind, parameters = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
            raise Refusal(RefusalCode.NO_FILENAME, "No filename provided")
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self.finished = False
        self._parser = MultipartParser(
            parameters[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": lambda: self._events.append(PartEnd()),
                "on_end": self._end,
            },
        )

    def feed(self, content: bytes) -> list[Event]:
        """The events that `content` completes. Raises Refusal `invalid_request` on a broken form."""
        try:
            self._parser.write(content)
        except FormParserError as error:
            raise Refusal(RefusalCode.INVALID_REQUEST, "The multipart form is broken.") from error
        events, self._events = self._events, []
        return events

    def _begin(self) -> None:
        self._headers, self._name, self._value = {}, b"", b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = parameters.get(b"name", b"").decode("utf-8", "replace")
        self._events.append(PartBegin(name, _file_name(parameters)))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(data[start:end]))

    def _end(self) -> None:
        self.finished = True


def _file_name(parameters: Mapping[bytes, bytes]) -> str | None:
    """The name as the person knows it: browsers and curl write a quote as %22 (WHATWG HTML, 4.10.21.8)."""
    name = parameters.get(b"filename")
    return None if name is None else name.decode("utf-8", "replace").replace("%22", '"')
