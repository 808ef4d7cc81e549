"""The size of a song is no matter to the memory of whoever moves it."""

import subprocess
import sys

import pytest

from contract.stores import open_store
from tests.testbed.gcs import GcsServer

MOVE = """
import resource, sys
from contract.stores import open_store

url, megabytes = sys.argv[1], int(sys.argv[2])
store, block = open_store(url), bytes(1_000_000)
with store.writer("a", content_type="audio/wav") as writer:
    for _ in range(megabytes):
        writer.write(block)
    writer.commit()
read = sum(len(block) for block in store.read("a"))
assert read == megabytes * 1_000_000, read
store.delete("a")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mib(url: str, megabytes: int) -> int:
    """The most memory that writing and reading an object of that size takes."""
    command = [sys.executable, "-c", MOVE, url, str(megabytes)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_300_mb_take_no_more_memory_than_20_mb(
    gcs_server: GcsServer, gcs_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    url = f"gs://{gcs_bucket}"

    small, large = peak_mib(url, 20), peak_mib(url, 300)

    assert large < small + 16
    assert open_store(url).stat("a") is None
