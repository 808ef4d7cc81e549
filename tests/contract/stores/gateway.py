"""Stands before a server, writes down what is asked of it, and spoils what a test wants spoiled."""

import http.client
import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked for; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body_size: int = 0


@dataclass(frozen=True)
class Answer:
    """What a server answers."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


Forward = Callable[[Request, bytes], Answer]
Fault = Callable[[Request, bytes, Forward], Answer | None]
"""Given a request, its body and the way to the server, the answer; None breaks the connection without one."""


def lost(request: Request, body: bytes, forward: Forward) -> None:
    """The request arrives and takes effect, its answer gets lost."""
    forward(request, body)


def unreached(request: Request, body: bytes, forward: Forward) -> None:
    """The request gets lost."""


def untouched(request: Request, body: bytes, forward: Forward) -> Answer:
    """No fault at all."""
    return forward(request, body)


def damaged(request: Request, body: bytes, forward: Forward) -> Answer:
    """One bit of the request's body turns over on the way."""
    return forward(request, bytes([body[0] ^ 1]) + body[1:])


def damaged_answer(request: Request, body: bytes, forward: Forward) -> Answer:
    """One bit of the answer's body turns over on the way."""
    answer = forward(request, body)
    return Answer(answer.status, answer.headers, bytes([answer.body[0] ^ 1]) + answer.body[1:])


def half_kept(request: Request, body: bytes, forward: Forward) -> Answer:
    """The server takes only half of a chunk, as Google's may."""
    start, _, total = re.fullmatch(r"bytes (\d+)-(\d+)/(.+)", request.headers["content-range"]).groups()  # type: ignore[union-attr]
    half = len(body) // 2
    headers = {
        **request.headers,
        "content-length": str(half),
        "content-range": f"bytes {start}-{int(start) + half - 1}/{total}",
    }
    return forward(replace(request, headers=headers), body[:half])


def cut_after(size: int) -> Fault:
    """The answer breaks off after `size` bytes of its body."""

    def fault(request: Request, body: bytes, forward: Forward) -> Answer:
        answer = forward(request, body)
        return Answer(answer.status, answer.headers, answer.body[:size])

    return fault


def refused(status: int, message: str = "no") -> Fault:
    """The server answers in Google's way that it does not do it."""
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return lambda *_: Answer(status, headers, body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # they wait for more requests on connections that clients keep

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is none of this server's concern."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Gateway:
    """An HTTP server that passes everything on, but for the faults."""

    def __init__(self, target: str) -> None:
        self.requests: list[Request] = []
        self._target = urlsplit(target).netloc
        self._faults: list[tuple[str, str, Fault, int]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def spoil(self, method: str, part_of_path: str, fault: Fault, *, after: int = 0, times: int = 1) -> None:
        """Of the next requests like that, the ones after the first `after`, `times` of them, meet `fault`."""
        self._faults += [(method, part_of_path, untouched, after)] if after else []
        self._faults.append((method, part_of_path, fault, times))

    def asked(self, method: str = "", part_of_path: str = "") -> list[Request]:
        """The requests so far of that method whose path holds that part."""
        return [r for r in self.requests if method in r.method and part_of_path in r.path]

    def answer(self, request: Request, body: bytes) -> Answer | None:
        """Passes a request on, unless there is a fault for it."""
        with self._lock:
            self.requests.append(request)
            fault = self._fault(request)
        return (fault or untouched)(request, body, self._forward)

    def _fault(self, request: Request) -> Fault | None:
        for place, (method, part, fault, times) in enumerate(self._faults):
            if request.method == method and part in request.path:
                self._faults[place : place + 1] = [(method, part, fault, times - 1)] if times > 1 else []
                return fault
        return None

    def _forward(self, request: Request, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._target, timeout=60)
        try:
            # With the client's own Host: links that the server makes lead back here.
            connection.request(request.method, request.path, body, request.headers)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = gateway.answer(Request(self.command, self.path, headers, len(body)), body)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.headers:
                    if name.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(name, value)
                length = {name.lower(): value for name, value in answer.headers}.get("content-length")
                if length is None and answer.status not in (204, 304):
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
                self.close_connection = length is not None and int(length) > len(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
