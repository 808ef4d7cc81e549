"""What a bucket asks of its owner, and one sentence for everything that it refuses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from contract.stores import (
    Store,
    StoreError,
    open_store,
)
from tests.contract.stores.gateway import (
    Fault,
    Gateway,
    refused,
    unreached,
)
from tests.contract.stores.large import LARGE, TEXT, content_of, stream
from tests.testbed.gcs import GcsServer


def test_the_bucket_itself_is_never_asked_for(gateway: Gateway, bucket_store: Store, tmp_path: Path) -> None:
    # That needs a permission of its own. The library does it in a thread, where OpenTelemetry is installed.
    bucket_store.put("a", b"", content_type=TEXT)
    bucket_store.fetch("a", tmp_path / "a")
    for key in ["a", "missing"]:
        bucket_store.get(key)
        bucket_store.delete(key)
    bucket_store.delete_prefix("a")

    about_objects = [request for request in gateway.requests if "/o" in request.path]
    assert len(gateway.requests) > 6
    assert about_objects == gateway.requests


Operation = Callable[[Store, Path], object]
OPERATIONS: dict[str, Operation] = {
    "put": lambda store, _: store.put("a", b"", content_type=TEXT),
    "stream": lambda store, _: stream(store, "a", LARGE),
    "put_file": lambda store, path: store.put_file("a", path, content_type=TEXT),
    "stat": lambda store, _: store.stat("a"),
    "get": lambda store, _: store.get("a"),
    "read": lambda store, _: store.read("a"),
    "fetch": lambda store, path: store.fetch("a", path),
    "list": lambda store, _: list(store.list("")),
    "delete": lambda store, _: store.delete("a"),
    "delete_prefix": lambda store, _: store.delete_prefix("a"),
}


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Store], object]]:
    """Each thing that a store does, with a local file where it needs one."""
    (tmp_path / "file").write_bytes(b"content")
    return lambda store: OPERATIONS[request.param](store, tmp_path / "file")  # type: ignore[return-value]


def test_a_missing_bucket_is_named(gateway: Gateway, operation: Callable[[Store], object]) -> None:
    store = open_store("gs://no-such-bucket/prefix", retry_seconds=2)

    with pytest.raises(StoreError, match=r"^There is no bucket no-such-bucket in Google Cloud Storage\.$"):
        operation(store)


def test_a_missing_permission_is_one_sentence_at_once(
    gateway: Gateway, bucket_store: Store, operation: Callable[[Store], object]
) -> None:
    for method in ["GET", "POST", "DELETE"]:
        gateway.spoil(method, "", refused(403, "somebody@example.com has no storage.objects.get"), times=9)

    sentence = r"^The credentials have no permission to do this in the bucket bucket-\w+\.$"
    with pytest.raises(StoreError, match=sentence):
        operation(bucket_store)

    assert len(gateway.requests) == 1


def test_credentials_that_are_not_accepted_are_one_sentence_at_once(
    gateway: Gateway, bucket_store: Store
) -> None:
    gateway.spoil("GET", "", refused(401), times=9)

    with pytest.raises(StoreError, match=r"^Google Cloud Storage does not accept the credentials\.$"):
        bucket_store.stat("a")

    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (refused(503), r"^Google Cloud Storage failed with status 503\.$"),
        (refused(429), r"^Google Cloud Storage takes no more requests for the bucket bucket-\w+ just now\.$"),
        (unreached, r"^Google Cloud Storage cannot be reached\.$"),
    ],
)
def test_what_may_pass_is_tried_again_for_so_many_seconds(
    gateway: Gateway, gcs_bucket: str, fault: Fault, sentence: str
) -> None:
    store = open_store(f"gs://{gcs_bucket}", retry_seconds=1)
    for method in ["GET", "POST"]:
        gateway.spoil(method, "", fault, times=1000)

    for operation in [OPERATIONS["stat"], OPERATIONS["stream"], OPERATIONS["read"]]:
        gateway.requests.clear()
        began = monotonic()
        with pytest.raises(StoreError, match=sentence):
            operation(store, Path())
        assert 0.7 < monotonic() - began < 1.5
        assert 2 < len(gateway.requests) < 50


def test_what_passes_in_time_is_not_noticed(gateway: Gateway, bucket_store: Store) -> None:
    gateway.spoil("POST", "", refused(503), times=3)
    gateway.spoil("GET", "", unreached, times=3)

    bucket_store.put("a", b"x", content_type=TEXT)

    assert content_of(bucket_store, "a") == b"x"


def test_whoever_waits_for_an_http_answer_waits_5_seconds(gateway: Gateway, gcs_bucket: str) -> None:
    store = open_store(f"gs://{gcs_bucket}")
    gateway.spoil("GET", "", refused(503), times=1000)

    began = monotonic()
    with pytest.raises(StoreError):
        store.stat("a")

    assert 3.7 < monotonic() - began < 5.5


@pytest.mark.parametrize("name", ["put", "stat", "read", "fetch", "list", "delete", "delete_prefix"])
def test_a_server_that_hangs_is_a_timeout(
    gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    store = open_store(f"gs://{gcs_server.make_bucket()}", retry_seconds=0.5)
    gcs_server.processes.pause("gcs")
    began = monotonic()
    try:
        with pytest.raises(StoreError, match=r"^Google Cloud Storage did not answer in time\.$"):
            OPERATIONS[name](store, tmp_path / "a")
    finally:
        gcs_server.processes.resume("gcs")

    assert monotonic() - began < 1.5
