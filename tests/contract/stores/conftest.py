"""Every store there is, and a way to Google Cloud Storage on which things go wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.stores import Store, open_store
from tests.contract.stores.gateway import Gateway
from tests.testbed.gcs import GcsServer

OpenBucket = Callable[..., Store]


@pytest.fixture(params=["file", pytest.param("gs", marks=pytest.mark.testbed)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store. A new kind of store is a new parameter."""
    if request.param == "file":
        return open_store(f"file://{tmp_path}/store")
    server: GcsServer = request.getfixturevalue("gcs_server")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)  # the developer's own
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    return open_store(f"gs://{server.make_bucket()}/some/prefix")


@pytest.fixture
def gateway(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """What stands between this test's stores and the emulator."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)  # the developer's own
    with Gateway(gcs_server.url) as gateway:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gateway.url)
        yield gateway


@pytest.fixture
def bucket_store(gateway: Gateway, gcs_bucket: str) -> Store:
    """An empty bucket behind the gateway; requests are tried for 2 s."""
    return open_store(f"gs://{gcs_bucket}/prefix", retry_seconds=2)
