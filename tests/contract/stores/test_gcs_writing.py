"""Writing to a bucket over a network on which requests and answers get lost."""

import time
from pathlib import Path

import pytest

from contract.stores import (
    CREATE_ONLY,
    PreconditionFailed,
    Store,
    StoreError,
)
from tests.contract.stores.gateway import (
    Fault,
    Gateway,
    damaged,
    half_kept,
    lost,
    refused,
    unreached,
)
from tests.contract.stores.large import CHUNK, LARGE, TEXT, content_of, stream


def test_a_request_carries_8_mib_at_most(gateway: Gateway, bucket_store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)

    stream(bucket_store, "streamed", LARGE)
    bucket_store.put_file("file", tmp_path / "file", content_type=TEXT)

    sizes = [request.body_size for request in gateway.asked("PUT")]
    assert sizes == [CHUNK, CHUNK, len(LARGE) - 2 * CHUNK] * 2


def test_a_small_object_takes_one_request(gateway: Gateway, bucket_store: Store) -> None:
    stream(bucket_store, "a", b"small")

    assert [request.method for request in gateway.requests] == ["POST"]


@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize("content", [b"small", LARGE])
@pytest.mark.parametrize("times", [1, 2])
def test_a_write_whose_answer_was_lost_is_a_success(
    gateway: Gateway, bucket_store: Store, before: bytes | None, content: bytes, times: int
) -> None:
    generation = CREATE_ONLY
    if before is not None:
        generation = bucket_store.put("a", before, content_type=TEXT).generation
    method, chunks_before = ("POST", 0) if content == b"small" else ("PUT", 2)
    gateway.spoil(method, "upload", lost, after=chunks_before, times=times)

    written = stream(bucket_store, "a", content, generation)

    info = bucket_store.stat("a")
    assert info is not None
    assert (info.generation, info.size) == (written, len(content))
    assert content_of(bucket_store, "a") == content


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_the_same_content_of_somebody_else_is_not_a_success(
    gateway: Gateway, bucket_store: Store, content: bytes
) -> None:
    others = stream(bucket_store, "a", content)
    gateway.spoil("POST", "upload", unreached)

    with pytest.raises(PreconditionFailed, match=r"^a exists already\.$"):
        stream(bucket_store, "a", content, CREATE_ONLY)
    with pytest.raises(PreconditionFailed, match=r"^a has changed in the meantime\.$"):
        stream(bucket_store, "a", content, others - 1)

    assert bucket_store.stat("a").generation == others  # type: ignore[union-attr]


@pytest.mark.parametrize("fault", [unreached, refused(503), half_kept])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_a_chunk_that_did_not_arrive_as_a_whole_is_sent_again(
    gateway: Gateway, bucket_store: Store, fault: Fault, chunk: int
) -> None:
    gateway.spoil("PUT", "upload", fault, after=chunk)

    stream(bucket_store, "a", LARGE)

    assert len(gateway.asked("PUT")) == 4
    assert content_of(bucket_store, "a") == LARGE


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_an_upload_that_the_store_gives_up_is_an_error(
    gateway: Gateway, bucket_store: Store, status: int, chunk: int
) -> None:
    gateway.spoil("PUT", "upload", refused(status), after=chunk)

    with pytest.raises(StoreError, match=r"^Google Cloud Storage has lost the unfinished upload\.$"):
        stream(bucket_store, "a", LARGE)


def test_bytes_that_are_damaged_on_the_way_up_do_not_stay(gateway: Gateway, bucket_store: Store) -> None:
    gateway.spoil("PUT", "upload", damaged)

    with pytest.raises(StoreError, match="damaged"):
        stream(bucket_store, "a", LARGE)

    assert bucket_store.stat("a") is None


def test_damaged_bytes_are_told_as_such_even_if_they_cannot_be_removed(
    gateway: Gateway, bucket_store: Store
) -> None:
    gateway.spoil("PUT", "upload", damaged)
    gateway.spoil("DELETE", "", refused(503), times=99)
    began = time.monotonic()

    with pytest.raises(StoreError, match="damaged"):
        stream(bucket_store, "a", LARGE)

    assert time.monotonic() - began < 20  # tried for 2 s; the library's own limit is 120 s


def test_a_write_that_cannot_be_cancelled_is_left_without_another_error(
    gateway: Gateway, bucket_store: Store
) -> None:
    gateway.spoil("DELETE", "upload", unreached, times=9)

    with pytest.raises(RuntimeError), bucket_store.writer("a", content_type=TEXT) as writer:
        writer.write(LARGE)
        raise RuntimeError

    assert len(gateway.asked("DELETE", "upload")) == 1
    assert bucket_store.stat("a") is None
