"""A server whose store is a bucket that others reach by links, and a way into the same bucket."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.stores import DirectStore, open_store
from tests.api.conftest import Server
from tests.contract.stores.keys import key_file
from tests.testbed.gcs import GcsServer
from tests.testbed.processes import direct


def bucket_settings(folder: Path, gcs: GcsServer) -> dict[str, str]:
    """The settings of an API with a new bucket, whose links it can sign."""
    key_file(folder / "key.json")
    return {
        "STORAGE_EMULATOR_HOST": gcs.url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "key.json"),
        "STEMJOB_STORE": f"gs://{gcs.make_bucket()}/some/prefix",
    }


@contextmanager
def serving_from_a_bucket(folder: Path, gcs: GcsServer, **settings: str) -> Iterator[Server]:
    server = Server(folder, bucket_settings(folder, gcs) | settings).start()
    try:
        yield server
    finally:
        server.stop()


def bucket_of(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> DirectStore:
    """The bucket of an API with these settings, for the test itself."""
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, settings[name])
    store = open_store(settings["STEMJOB_STORE"])
    assert isinstance(store, DirectStore)
    return store


def fetched(link: str) -> tuple[bytes, dict[str, str]]:
    """Content and headers of what lies behind a link, asked for without credentials."""
    with direct().open(link, timeout=10) as found:
        return found.read(), dict(found.headers)


def send(offer: Mapping[str, Any], content: bytes) -> int:
    """Sends a song as the answer of POST /uploads says; the status."""
    request = urllib.request.Request(
        offer["url"], data=content, method=offer["method"], headers=offer["headers"]
    )
    try:
        with direct().open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
