"""One HTTP POST to a stranger: to an address that was judged, without redirects, and soon over."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Collection, Mapping

from pydantic import HttpUrl
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from api.callbacks import all_public, host_of

_SILENCE_SECONDS = 5.0
_WHOLE_SECONDS = 10.0
"""Once connected, it takes no longer, also when the answer comes byte by byte."""

_TRIED_ADDRESSES = 2


class NotPosted(Exception):  # noqa: N818
    """No answer was had; the message says why."""


def post(url: HttpUrl, body: bytes, headers: Mapping[str, str], trusted_hosts: Collection[str]) -> int:
    """Sends `body`; the status of the answer, whose body nobody reads. No proxy is used.

    The host is resolved once, and the connection goes to just the addresses that were looked at: a name that
    points elsewhere a moment later gains nothing. Hosts in `trusted_hosts` may have any address.

    Raises:
        NotPosted: the host has no address or one that is not public, or no answer came in time.
    """
    host = host_of(url)
    if host not in trusted_hosts and url.scheme != "https":  # trusted when the job was made, but not any more
        raise NotPosted(f"{host} is asked for without https")
    addresses = _addresses(host, url.port or 443)
    if host not in trusted_hosts and not all_public(addresses):
        raise NotPosted(f"{host} has an address that is not public")
    connection = _connect(url, host, addresses)
    watchdog = threading.Timer(_WHOLE_SECONDS, _cut, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", target, body, {**headers, "Host": _authority(url)}, preload_content=False)
        return connection.getresponse().status
    except (OSError, HTTPError, http.client.HTTPException) as error:
        raise NotPosted(f"{host} gave no answer: {_reason(error)}") from error
    finally:
        watchdog.cancel()
        connection.close()


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotPosted(f"{host} has no address: {_reason(error)}") from error
    return list(dict.fromkeys(str(place[4][0]) for place in found))


def _connect(url: HttpUrl, host: str, addresses: list[str]) -> HTTPConnection:
    """A connection to the first address that takes one."""
    problems = []
    for address in addresses[:_TRIED_ADDRESSES]:
        connection = _connection(url, host, address)
        try:
            connection.connect()
        except (OSError, HTTPError) as error:
            connection.close()
            problems.append(_reason(error))
        else:
            return connection
    raise NotPosted(f"{host} cannot be reached: {'; '.join(problems)}")


def _connection(url: HttpUrl, host: str, address: str) -> HTTPConnection:
    """Goes to `address`, but asks for a certificate of `host`."""
    if url.scheme == "http":
        return HTTPConnection(address, url.port, timeout=_SILENCE_SECONDS)
    trust = ssl.create_default_context()
    return HTTPSConnection(
        address, url.port, timeout=_SILENCE_SECONDS, ssl_context=trust, server_hostname=host
    )


def _authority(url: HttpUrl) -> str:
    """The Host header: the port stands in it when it is not the scheme's own (RFC 9110, 7.2)."""
    usual = {"https": 443, "http": 80}[url.scheme]
    return f"{url.host}" if url.port == usual else f"{url.host}:{url.port}"


def _cut(connection: HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # below TLS, which could wait itself


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
