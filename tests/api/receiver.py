"""Somebody who receives webhooks: a real HTTP server whose answers a test chooses."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

from tests.testbed.pki import KeyPair

Answer = Callable[[BinaryIO], None]
"""Writes a whole HTTP answer."""


def status(code: int, *headers: str) -> Answer:
    """An answer without a body."""
    head = "".join(f"{header}\r\n" for header in headers)
    text = f"HTTP/1.1 {code} So\r\n{head}Content-Length: 0\r\nConnection: close\r\n\r\n"
    return lambda out: _write(out, text.encode())


def _write(out: BinaryIO, content: bytes) -> None:
    out.write(content)
    out.flush()


@dataclass(frozen=True)
class Message:
    """A request as it came: header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Where it listens, what it has received, and how it answers from now on."""

    port: int
    answer: Answer
    messages: list[Message] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/told?token=hidden"

    def wait_for(self, count: int, seconds: float = 60) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.messages) >= count, seconds), "nobody came"


@contextmanager
def receiving(certificate: KeyPair | None = None) -> Iterator[Receiver]:
    """A receiver on a free port of this machine; with a certificate it speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with receiver.came:
                receiver.messages.append(Message(self.path, headers, body))
                receiver.came.notify_all()
            with contextlib.suppress(OSError):  # whoever asked has gone
                receiver.answer(self.wfile)  # type: ignore[arg-type]
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a handshake that the other side ended

    with Server(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver = Receiver(server.server_address[1], status(204))
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()
