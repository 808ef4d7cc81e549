"""`python -m api`: serves on HOST (127.0.0.1) and PORT (8000) until stopped."""

import os
import signal
import socket
import sys

import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.metrics import serve_metrics
from api.settings import ApiSettings, problem_of
from api.wiring import open_backend
from contract.logs import configure_logs
from contract.stores import StoreError


def main() -> int:
    """Serves; 0 after an orderly stop, 1 with a sentence on standard error when it cannot begin."""
    host = os.environ.get("HOST") or "127.0.0.1"
    try:
        settings = ApiSettings()
        listener = _listen(host, _port(os.environ.get("PORT") or "8000"), settings.transfer_idle_seconds)
        configure_logs(settings.log_level)
        if settings.metrics_port is not None:
            serve_metrics(host, settings.metrics_port)
        backend = open_backend(settings)
    except ValidationError as error:
        return _refuse(problem_of(error))
    except (ValueError, RuntimeError, StoreError, OSError) as error:
        return _refuse(str(error))
    shown = f"[{host}]" if ":" in host else host
    print(f"stemjob serves on http://{shown}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)  # noqa: T201
    for stop in (signal.SIGINT, signal.SIGTERM):  # uvicorn stops in order, then raises the signal once more
        signal.signal(stop, lambda *_: None)
    # h11, not httptools: it limits the headers of a request to 64 KiB.
    app = create_app(backend)
    server = uvicorn.Server(
        uvicorn.Config(app, http="h11", log_config=None, access_log=False, timeout_graceful_shutdown=5)
    )
    app.state.watches.stopping = lambda: server.should_exit
    with listener:
        server.run(sockets=[listener])
    return 0


def _listen(host: str, port: int, idle_seconds: float) -> socket.socket:
    """A listening socket. Raises OSError with a sentence when the port is taken.

    Connections whose other end takes no byte for `idle_seconds` are ended by the kernel, if it can.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: only then asyncio switches Nagle's algorithm off, which costs 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * idle_seconds))
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise OSError(
            f"Cannot serve on {host}:{port}: {error.strerror}. Set PORT (or HOST) to another one."
        ) from error
    return listener


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f"PORT is {text!r}, but a port is a number from 0 to 65535.")
    return int(text)


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
