"""Reading, listing and deleting in a bucket over a network on which answers break off."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.stores import (
    CHUNK_BYTES,
    ObjectNotFound,
    Store,
    StoreError,
    StoreFull,
)
from tests.contract.stores.gateway import (
    Gateway,
    cut_after,
    damaged_answer,
    lost,
    refused,
)
from tests.contract.stores.large import LARGE, TEXT, content_of, stream
from tests.contract.stores.limits import no_file_beyond


def test_a_large_object_is_read_with_one_request(gateway: Gateway, bucket_store: Store) -> None:
    generation = stream(bucket_store, "a", LARGE)

    assert b"".join(bucket_store.read("a", generation=generation)) == LARGE

    assert len(gateway.asked("GET")) == 1


def test_a_download_goes_on_where_it_broke_off(gateway: Gateway, bucket_store: Store) -> None:
    generation = stream(bucket_store, "a", LARGE)
    gateway.spoil("GET", "download", cut_after(5_000_000), times=2)

    assert content_of(bucket_store, "a") == LARGE

    ranges = [request.headers.get("range") for request in gateway.asked("GET", "download")]
    assert ranges == [None, f"bytes={19 * CHUNK_BYTES}-", f"bytes={38 * CHUNK_BYTES}-"]  # whole blocks
    assert f"generation={generation}" in gateway.requests[-1].path


def test_a_range_goes_on_where_it_broke_off(gateway: Gateway, bucket_store: Store) -> None:
    stream(bucket_store, "a", LARGE)
    gateway.spoil("GET", "download", cut_after(300_000))

    assert b"".join(bucket_store.read("a", start=1000, length=500_000)) == LARGE[1000:501_000]

    assert gateway.requests[-1].headers["range"] == f"bytes={1000 + CHUNK_BYTES}-500999"


def test_a_download_that_never_goes_on_is_an_error(gateway: Gateway, bucket_store: Store) -> None:
    stream(bucket_store, "a", LARGE)
    gateway.spoil("GET", "download", cut_after(300_000))
    gateway.spoil("GET", "download", cut_after(0), times=99)

    with pytest.raises(StoreError, match="cannot be reached"):
        content_of(bucket_store, "a")

    assert len(gateway.asked("GET", "download")) < 10


def test_a_broken_download_never_goes_on_with_another_generation(
    gateway: Gateway, bucket_store: Store
) -> None:
    stream(bucket_store, "a", LARGE)
    gateway.spoil("GET", "download", cut_after(1_000_000))
    blocks = bucket_store.read("a")
    next(blocks)
    bucket_store.put("a", LARGE[::-1], content_type=TEXT)

    with pytest.raises(ObjectNotFound, match="a is not there"):
        list(blocks)


def test_an_object_that_is_replaced_while_it_is_got_is_got_anew(
    gateway: Gateway, bucket_store: Store
) -> None:
    bucket_store.put("a", b"old", content_type=TEXT)

    def replaced(request, body, forward):  # type: ignore[no-untyped-def]
        bucket_store.put("a", b"newer", content_type=TEXT)
        return forward(request, body)

    gateway.spoil("GET", "download", replaced)

    found = bucket_store.get("a")

    assert found == (b"newer", bucket_store.stat("a"))


def test_fetching_goes_on_where_it_broke_off(gateway: Gateway, bucket_store: Store, tmp_path: Path) -> None:
    stream(bucket_store, "a", LARGE)
    gateway.spoil("GET", "download", cut_after(5_000_000))

    bucket_store.fetch("a", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() == LARGE
    assert gateway.requests[-1].headers["range"].startswith("bytes=49")


def test_fetching_damaged_bytes_leaves_no_file(gateway: Gateway, bucket_store: Store, tmp_path: Path) -> None:
    stream(bucket_store, "a", LARGE)
    gateway.spoil("GET", "download", damaged_answer, times=9)

    with pytest.raises(StoreError, match="damaged"):
        bucket_store.fetch("a", tmp_path / "a")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_a_fetched_file_is_named(bucket_store: Store, tmp_path: Path) -> None:
    stream(bucket_store, "a", LARGE)

    with no_file_beyond(100_000), pytest.raises(StoreFull):
        bucket_store.fetch("a", tmp_path / "a")

    assert list(tmp_path.iterdir()) == []


def test_a_local_file_that_is_not_there_is_one_sentence(bucket_store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^A local file cannot be used: No such file or directory\.$"):
        bucket_store.put_file("a", tmp_path / "missing", content_type=TEXT)


def test_more_objects_than_a_page_holds_are_listed_and_deleted(gateway: Gateway, bucket_store: Store) -> None:
    for number in range(1100):
        bucket_store.put(f"jobs/1/{number:04}", b"", content_type=TEXT)
    bucket_store.put("jobs/10", b"", content_type=TEXT)
    gateway.requests.clear()

    assert [info.key for info in bucket_store.list("jobs/1/")] == [f"jobs/1/{n:04}" for n in range(1100)]
    assert len(gateway.requests) == 2
    bucket_store.delete_prefix("jobs/1/")

    assert [info.key for info in bucket_store.list("")] == ["jobs/10"]


def test_what_is_missing_costs_one_request_once_the_bucket_is_known(
    gateway: Gateway, bucket_store: Store
) -> None:
    assert bucket_store.stat("a") is None
    first = len(gateway.requests)
    assert bucket_store.stat("b") is None

    assert (first, len(gateway.requests)) == (2, 3)


def test_listing_stops_asking_when_nobody_reads_on(gateway: Gateway, bucket_store: Store) -> None:
    for number in range(1001):
        bucket_store.put(f"{number:04}", b"", content_type=TEXT)
    gateway.requests.clear()

    assert next(iter(bucket_store.list(""))).key == "0000"

    assert len(gateway.requests) == 1


def test_a_deletion_that_fails_for_a_moment_is_done_again(gateway: Gateway, bucket_store: Store) -> None:
    for number in range(40):
        bucket_store.put(f"jobs/{number}", b"", content_type=TEXT)
    gateway.spoil("DELETE", "", refused(503), times=10)
    gateway.spoil("DELETE", "", lost, times=10)

    bucket_store.delete_prefix("jobs/")

    assert list(bucket_store.list("")) == []


def test_many_threads_keep_their_connections(bucket_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    bucket_store.put("a", b"x", content_type=TEXT)

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: bucket_store.stat("a"), range(128)))

    assert all(found)
    assert "pool is full" not in caplog.text
