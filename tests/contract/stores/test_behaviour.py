"""What every store promises, held against every store there is.

The bucket is an emulator's. What it does not do as Google's does is not shown here; `test_gcs_*.py` show it
only as far as a gateway before the emulator can play Google's part:

- permissions: it has none. The gateway answers 403 and 401 in Google's words.
- signatures and expiry of download links: it looks at neither. The test verifies the signature itself.
- declared size and origin of a direct upload: it ignores them. The test looks at what is sent.
- preconditions when a resumable upload begins: it looks at them only at the end.
- a repeated chunk in the middle of an upload whose first answer was lost: it appends it a second time, and
  Google's skips what it has. Chunks that never arrived, or only in part, are shown.
- an upload that was finished and is asked for again: it answers 404, Google's 200.
- batch requests from Python: it skips them. The store sends none.
- reads of a replaced generation under soft delete or object versioning, retention locks, storage classes.
- Google's limits: one write to an object a second, requests a second, 1024 bytes of a name.
"""

import random
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


def test_fetching_again_replaces_what_was_fetched(store: Store, tmp_path: Path) -> None:
    for content in (b"old", b"new", b"new"):
        store.put("a", content, content_type=TEXT)
        for _ in range(2):
            store.fetch("a", tmp_path / "copy")
            assert (tmp_path / "copy").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == ["copy"]


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


def test_nothing_is_read_past_the_end_or_of_no_length(store: Store) -> None:
    store.put("a", b"0123456789", content_type=TEXT)
    store.put("empty", b"", content_type=TEXT)

    assert b"".join(store.read("a", start=10)) == b""
    assert b"".join(store.read("a", start=3, length=0)) == b""
    assert b"".join(store.read("empty")) == b""
    with pytest.raises(ObjectNotFound):
        store.read("missing", length=0)


def test_a_reader_can_be_left_before_the_end(store: Store) -> None:
    store.put("a", b"a" * (3 * CHUNK_BYTES), content_type=TEXT)
    blocks = store.read("a")

    assert next(blocks)
    blocks.close()

    assert list(blocks) == []


def test_fetching_what_is_not_there_leaves_the_folder_as_it_was(store: Store, tmp_path: Path) -> None:
    old = store.put("a", b"old", content_type=TEXT)
    store.put("a", b"new", content_type=TEXT)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "copy").write_bytes(b"before")

    for key, generation in [("a", old.generation), ("missing", None)]:
        with pytest.raises(ObjectNotFound):
            store.fetch(key, tmp_path / "folder" / "copy", generation=generation)

    assert [path.read_bytes() for path in (tmp_path / "folder").iterdir()] == [b"before"]


def test_fetching_replaces_the_local_file(store: Store, tmp_path: Path) -> None:
    store.put("a", b"new", content_type=TEXT)
    (tmp_path / "copy").write_bytes(b"before")

    store.fetch("a", tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == b"new"


def test_what_is_not_there_cannot_be_replaced(store: Store) -> None:
    gone = store.put("a", b"1", content_type=TEXT)
    store.delete("a")

    with pytest.raises(PreconditionFailed):
        store.put("a", b"2", content_type=TEXT, if_generation=gone.generation)

    assert store.stat("a") is None


@pytest.mark.parametrize("size", [0, 8 << 20, (8 << 20) + 1, 20_000_003])
def test_a_streamed_write_of_any_size_is_read_back(store: Store, size: int) -> None:
    content = random.Random(size).randbytes(size)
    with store.writer("a", content_type=TEXT, if_generation=CREATE_ONLY) as writer:
        for start in range(0, size, 1_000_000):
            writer.write(content[start : start + 1_000_000])
        written = writer.commit()

    assert written == store.stat("a")
    assert b"".join(store.read("a", generation=written.generation)) == content


@pytest.mark.parametrize("size", [10, 9_000_000])
def test_of_two_streamed_writes_the_first_to_commit_wins(store: Store, size: int) -> None:
    with (
        store.writer("a", content_type=TEXT, if_generation=CREATE_ONLY) as one,
        store.writer("a", content_type=TEXT, if_generation=CREATE_ONLY) as other,
    ):
        one.write(b"1" * size)
        other.write(b"2" * size)
        won = other.commit()
        with pytest.raises(PreconditionFailed):
            one.commit()

    assert store.stat("a") == won


def test_a_large_write_that_is_left_without_commit_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.writer("a", content_type=TEXT) as writer:
        writer.write(bytes(20_000_000))
        raise RuntimeError

    assert list(store.list("")) == []


@pytest.mark.parametrize("key", ["a/Пісня 1.wav", "100% #1?.wav", "a+b&c=d", "'\"~", "a%2Fb"])
def test_a_key_may_hold_any_character_that_shows(store: Store, tmp_path: Path, key: str) -> None:
    written = store.put(key, b"x", content_type=TEXT)

    assert store.get(key) == (b"x", written)
    assert b"".join(store.read(key)) == b"x"
    assert list(store.list("")) == [written]
    store.fetch(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"x"
    store.delete(key)
    assert store.stat(key) is None


def test_keys_are_ordered_by_their_characters_alone(store: Store) -> None:
    keys = ["A", "a", "a-b", "a.b", "a/b", "a0", "aB", "ab", "aé", "b"]
    for key in reversed(keys[2:]):
        store.put(key, b"", content_type=TEXT)

    assert [info.key for info in store.list("")] == sorted(keys[2:])


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


def test_listing_can_begin_at_any_key(store: Store) -> None:
    for key in ["jobs/1/a", "jobs/1/c", "jobs/2/b", "other"]:
        store.put(key, b"", content_type=TEXT)

    assert [info.key for info in store.list("jobs/", "jobs/1/c")] == ["jobs/1/c", "jobs/2/b"]
    assert [info.key for info in store.list("jobs/", "jobs/1/b")] == ["jobs/1/c", "jobs/2/b"]
    assert [info.key for info in store.list("jobs/", "jobs/3")] == []
    assert [info.key for info in store.list("jobs/1/", "a")] == ["jobs/1/a", "jobs/1/c"]
    assert [info.key for info in store.list("jobs/", "", 2)] == ["jobs/1/a", "jobs/1/c"]
    assert [info.key for info in store.list("jobs/", "jobs/1/b", 1)] == ["jobs/1/c"]
    assert len(list(store.list("", "", 100))) == 4


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
