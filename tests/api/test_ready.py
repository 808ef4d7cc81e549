"""GET /ready: whether store and launcher answer."""

from pathlib import Path

import httpx2 as httpx
import pytest

from api.launchers.local import LocalLauncher
from api.readiness import Readiness
from contract.stores import Store, StoreError, open_store
from tests.api.conftest import Serve
from tests.testbed.gcs import GcsServer
from tests.testbed.waiting import wait_for


def test_the_embedded_default_is_ready(client: httpx.Client) -> None:
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.head("/ready").status_code == 200


def test_it_is_ready_when_its_bucket_is_there(serve: Serve, gcs_server: GcsServer) -> None:
    bucket = "not-yet-there"
    server = serve(STEMJOB_STORE=f"gs://{bucket}/stemjob", STORAGE_EMULATOR_HOST=gcs_server.url)
    with server.client() as client:
        missing = client.get("/ready")
        assert (missing.status_code, missing.json()["code"]) == (503, "store_unavailable")
        assert bucket in missing.json()["detail"]
        assert client.get("/health").status_code == 200

        gcs_server.make_bucket(bucket)
        wait_for("the API to be ready", lambda: client.get("/ready").status_code == 200)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def test_the_last_answer_holds_for_some_seconds(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("api.readiness.time.monotonic", lambda: now)
    launcher = LocalLauncher(tmp_path / "state", concurrency=1)
    ready = Readiness(store, launcher)
    ready.check()

    def broken(key: str) -> None:
        raise StoreError("It is gone.")

    with monkeypatch.context() as fault:
        fault.setattr(store, "stat", broken)
        ready.check()
        now += 5
        with pytest.raises(StoreError, match="It is gone"):
            ready.check()
    with pytest.raises(StoreError, match="It is gone"):
        ready.check()
    now += 5
    ready.check()
    launcher.close()
