"""A bucket: fake-gcs-server, an emulator of Google Cloud Storage, over real HTTP."""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.processes import Processes, answers, direct, free_ports

PROJECT = "stemjob-test"


@dataclass(frozen=True)
class GcsServer:
    """A running emulator.

    Attributes:
        url: its address, what google-cloud-storage wants as STORAGE_EMULATOR_HOST or `api_endpoint`.
        processes: to stop, pause and resume it (`"gcs"`).
    """

    url: str
    processes: Processes

    def make_bucket(self, name: str | None = None) -> str:
        """Make a bucket, with a name that nobody else has unless one is given. Its name."""
        name = name or f"bucket-{uuid.uuid4().hex[:12]}"
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b?project={PROJECT}",
            data=json.dumps({"name": name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with direct().open(request, timeout=10):
            return name


@contextmanager
def running_gcs_server(program: Path, host: str = "127.0.0.1") -> Iterator[GcsServer]:
    """Start an emulator that keeps its objects in memory, on a free port; it ends with the context.

    Args:
        program: the built fake-gcs-server.
        host: the address to listen on. Pods of the real node reach `node_cluster.host_address`.
    """
    [port] = free_ports(1, host)
    url = f"http://{host}:{port}"
    with Processes() as processes:
        processes.start(
            "gcs",
            [
                program,
                *("-scheme", "http", "-host", host, "-port", str(port), "-backend", "memory"),
                # Names in answers: links to objects, and where a resumable upload goes on.
                *("-public-host", f"{host}:{port}", "-external-url", url, "-log-level", "warn"),
            ],
        )
        processes.wait_ready("gcs", lambda: answers(host, port))
        yield GcsServer(url, processes)
