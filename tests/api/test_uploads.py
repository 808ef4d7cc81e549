"""The body of POST /process on its way in: its size, its pace, its memory, and clients that misbehave."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.api.conftest import Serve, Server
from tests.api.test_process import SONG, keys, post, stored_record
from tests.audio import encode
from tests.testbed.waiting import wait_for


def test_the_size_is_counted_on_the_file_and_not_on_the_form(serve: Serve) -> None:
    server = serve(STEMJOB_MAX_FILE_SIZE_MB="1")
    frames = (1_000_000 - 44) // 4
    exact = encode(np.zeros((frames, 2), np.float32))
    assert len(exact) == 1_000_000
    with server.client() as client:
        assert post(client, content=exact, normalization="off").status_code == 200
        answer = post(client, content=exact + b"\0")

    assert answer.status_code == 413
    assert answer.json() == {"detail": "The file is larger than 1 MB.", "code": "too_large"}


@contextmanager
def begun_upload(server: Server, length: int) -> Iterator[socket.socket]:
    """A connection on which the server reads an upload of `length` bytes, up to the song's first byte."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port or 0), timeout=20) as connection:
        connection.sendall(
            b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length
        )
        # Said when the endpoint reads the body for the first time, so it has let the upload in.
        said = b""
        while not said.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
            said += byte
        assert said.startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n')
        yield connection


def test_a_file_that_is_too_large_is_refused_without_reading_the_rest(serve: Serve) -> None:
    server = serve(STEMJOB_MAX_FILE_SIZE_MB="1")
    with begun_upload(server, 10_000_000_000) as connection:
        sent = 0
        connection.settimeout(5)
        started = time.monotonic()
        try:
            while sent < 200_000_000:
                sent += connection.send(bytes(1 << 16))
        except OSError:
            pass  # the server closed: it has enough
        assert sent < 60_000_000
        assert time.monotonic() - started < 15
    assert keys(server) == []


def test_an_upload_that_stands_still_is_ended(serve: Serve) -> None:
    server = serve(STEMJOB_TRANSFER_IDLE_SECONDS="1")
    with begun_upload(server, 1_000_000) as connection:
        connection.sendall(SONG[:1000])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"upload_stalled" in answer
    assert keys(server) == []


def test_a_client_that_hangs_up_leaves_nothing(server: Server) -> None:
    before = keys(server)
    temporary = server.folder / "store" / ".tmp"

    def unfinished() -> list[str]:
        return [path.name for path in temporary.iterdir() if path.name != "lock"]

    with begun_upload(server, 10_000_000) as connection:
        connection.sendall(bytes(3_000_000))
        wait_for("the song's beginning lies in the store", unfinished)

    wait_for("it is gone", lambda: not unfinished())
    assert keys(server) == before


def test_a_500_mb_upload_takes_little_memory_and_lies_on_disk_once(serve: Serve, tmp_path: Path) -> None:
    server = serve(STEMJOB_MAX_DURATION_SECONDS="100000")
    assert server.process is not None
    with server.client() as client:
        post(client)  # what the first upload loads is not the large one's
        before = resident_bytes(server.process.pid)
        most_on_disk = 0

        header = encode(np.zeros((1, 2), np.float32))[:40] + (499_999_000).to_bytes(4, "little")
        total = 499_999_044

        def body() -> Any:
            nonlocal most_on_disk
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + header
            for start in range(0, total - 44, 1_000_000):
                yield bytes(min(1_000_000, total - 44 - start))
                if start % 50_000_000 == 0:
                    most_on_disk = max(most_on_disk, disk_bytes(server.folder / "store"))
            yield b"\r\n--x--\r\n"

        answer = client.post(
            "/process",
            content=body(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            timeout=120,
        )

    assert answer.status_code == 200, answer.text
    assert stored_record(server, answer).input.size == total
    assert peak_resident_bytes(server.process.pid) - before < 64 * 2**20
    assert max(most_on_disk, disk_bytes(server.folder / "store")) < total * 1.05


def resident_bytes(pid: int) -> int:
    return _from_status(pid, "VmRSS:")


def peak_resident_bytes(pid: int) -> int:
    return _from_status(pid, "VmHWM:")


def _from_status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_beyond_the_limit_of_transfers_an_upload_is_told_to_come_again(serve: Serve) -> None:
    server = serve(STEMJOB_TRANSFERS="1")
    with begun_upload(server, 1_000), server.client() as client:
        answer = post(client)

    assert answer.status_code == 503
    assert answer.json()["code"] == "busy"
    assert int(answer.headers["Retry-After"]) > 0
