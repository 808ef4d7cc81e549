"""What every store promises, held against every store there is."""

import threading
from pathlib import Path

import pytest

from contract.stores import (
    CHUNK_BYTES,
    CREATE_ONLY,
    ObjectNotFound,
    PreconditionFailed,
    Store,
    StoreError,
    open_store,
)

TEXT = "text/plain"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def test_what_was_put_is_read_back(store: Store) -> None:
    written = store.put("a/b.txt", b"hello", content_type=TEXT)

    assert store.get("a/b.txt") == (b"hello", written)
    assert store.stat("a/b.txt") == written
    assert written.size == 5


def test_what_is_not_there_is_none_or_an_error_at_once(store: Store) -> None:
    assert store.stat("a") is None
    assert store.get("a") is None
    with pytest.raises(ObjectNotFound):
        store.read("a")
    store.delete("a")
    store.delete_prefix("a")
    assert list(store.list("a/")) == []


def test_every_write_makes_another_generation(store: Store) -> None:
    generations = {store.put("a", b"same", content_type=TEXT).generation for _ in range(200)}

    assert len(generations) == 200


def test_create_only_keeps_what_is_there(store: Store) -> None:
    store.put("a", b"first", content_type=TEXT, if_generation=CREATE_ONLY)

    with pytest.raises(PreconditionFailed):
        store.put("a", b"second", content_type=TEXT, if_generation=CREATE_ONLY)

    found = store.get("a")
    assert found is not None
    assert found[0] == b"first"


def test_only_the_generation_that_was_named_is_replaced(store: Store) -> None:
    first = store.put("a", b"1", content_type=TEXT)
    second = store.put("a", b"2", content_type=TEXT, if_generation=first.generation)

    with pytest.raises(PreconditionFailed):
        store.put("a", b"3", content_type=TEXT, if_generation=first.generation)

    assert store.get("a") == (b"2", second)


def test_of_many_creators_exactly_one_wins(store: Store) -> None:
    won: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        try:
            store.put("a", str(number).encode(), content_type=TEXT, if_generation=CREATE_ONLY)
        except PreconditionFailed:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = store.get("a")
    assert found is not None
    assert won == [int(found[0])]


def test_a_streamed_write_is_invisible_until_it_is_committed(store: Store) -> None:
    with store.writer("a", content_type=TEXT) as writer:
        writer.write(b"one ")
        writer.write(b"two")
        assert store.stat("a") is None
        written = writer.commit()

    assert store.get("a") == (b"one two", written)


def test_a_write_that_is_left_without_commit_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), store.writer("a", content_type=TEXT) as writer:
        writer.write(b"half")
        raise RuntimeError

    assert store.stat("a") is None


def test_a_local_file_is_written_and_fetched(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)

    written = store.put_file("a/track.wav", source, content_type="audio/wav")
    store.fetch("a/track.wav", tmp_path / "copy", generation=written.generation)

    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert written.size == 3_000_000


def test_a_file_is_created_only_once(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    store.put_file("a", source, content_type=TEXT, if_generation=CREATE_ONLY)

    with pytest.raises(PreconditionFailed):
        store.put_file("a", source, content_type=TEXT, if_generation=CREATE_ONLY)


def test_a_range_is_read_in_blocks(store: Store) -> None:
    content = bytes(range(256)) * 10_000
    written = store.put("a", content, content_type=TEXT)

    blocks = list(store.read("a", generation=written.generation, start=1000, length=2_000_000))

    assert b"".join(blocks) == content[1000:2_001_000]
    assert all(len(block) <= CHUNK_BYTES for block in blocks)


def test_a_range_past_the_end_stops_there(store: Store) -> None:
    store.put("a", b"0123456789", content_type=TEXT)

    assert b"".join(store.read("a", start=7, length=100)) == b"789"


def test_another_generation_is_not_found(store: Store) -> None:
    old = store.put("a", b"old", content_type=TEXT)
    store.put("a", b"new", content_type=TEXT)

    with pytest.raises(ObjectNotFound):
        store.read("a", generation=old.generation)


def test_a_reader_keeps_its_generation_while_the_object_is_replaced(store: Store) -> None:
    content = b"a" * (3 * CHUNK_BYTES)
    old = store.put("a", content, content_type=TEXT)

    blocks = store.read("a", generation=old.generation)
    first = next(blocks)
    store.put("a", b"new", content_type=TEXT)

    assert first + b"".join(blocks) == content


def test_listing_goes_by_prefix_in_the_order_of_keys(store: Store) -> None:
    for key in ["jobs/2/b", "jobs/1/a", "jobs/1/sub/c", "jobs/10/d", "other"]:
        store.put(key, b"", content_type=TEXT)

    assert [info.key for info in store.list("jobs/1")] == ["jobs/1/a", "jobs/1/sub/c", "jobs/10/d"]
    assert [info.key for info in store.list("jobs/1/")] == ["jobs/1/a", "jobs/1/sub/c"]
    assert [info.key for info in store.list("")] == [
        "jobs/1/a",
        "jobs/1/sub/c",
        "jobs/10/d",
        "jobs/2/b",
        "other",
    ]


def test_deleting_by_prefix_leaves_the_rest(store: Store) -> None:
    for key in ["jobs/1/a", "jobs/1/sub/c", "jobs/10/d"]:
        store.put(key, b"", content_type=TEXT)

    store.delete_prefix("jobs/1/")

    assert [info.key for info in store.list("")] == ["jobs/10/d"]


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd", "a\0b"])
def test_a_key_cannot_leave_the_store(store: Store, key: str) -> None:
    with pytest.raises(StoreError):
        store.put(key, b"", content_type=TEXT)


def test_an_unknown_scheme_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="file://"):
        open_store("ftp://somewhere")
