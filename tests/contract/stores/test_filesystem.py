"""What only a store in a folder can show."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from contract.stores import StoreError, StoreFull, open_store
from tests.contract.stores.limits import no_file_beyond

WRITE_AND_HANG = """
import sys, time
from contract.stores import open_store
with open_store(sys.argv[1]).writer("a", content_type="text/plain") as writer:
    writer.write(b"x" * 1_000_000)
    print("written", flush=True)
    time.sleep(60)
"""


def temporary_files(root: Path) -> list[Path]:
    return [path for path in (root / ".tmp").iterdir() if path.name != "lock"]


def make_old(root: Path) -> None:
    for path in temporary_files(root):
        os.utime(path, (time.time() - 3600, time.time() - 3600))


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    with subprocess.Popen([sys.executable, "-c", WRITE_AND_HANG, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        make_old(tmp_path)

        open_store(url)
        assert len(temporary_files(tmp_path)) == 1

        process.send_signal(signal.SIGKILL)
        process.wait()
        open_store(url)
        assert temporary_files(tmp_path) == []
    assert not (tmp_path / "a").exists()


def test_no_folder_stays_behind_its_objects(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    store.put("jobs/1/a", b"", content_type="text/plain")

    store.delete_prefix("jobs/1/")

    assert [path.name for path in tmp_path.iterdir()] == [".tmp"]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")

    with no_file_beyond(100_000), pytest.raises(StoreFull):
        store.put("a", bytes(1_000_000), content_type="text/plain")

    assert store.stat("a") is None
    assert temporary_files(tmp_path) == []


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be used"):
        open_store(f"file://{tmp_path}/file/store")


def test_a_relative_url_is_below_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert open_store("file://./data").uri("a") == str(tmp_path / "data" / "a")


def test_an_old_file_is_stored_while_others_open_the_store(tmp_path: Path) -> None:
    source = tmp_path / "track.wav"
    source.write_bytes(bytes(2_000_000))
    store = open_store(f"file://{tmp_path}/store")
    done = threading.Event()

    def keep_opening() -> None:
        while not done.is_set():
            open_store(f"file://{tmp_path}/store")

    opener = threading.Thread(target=keep_opening)
    opener.start()
    try:
        for number in range(60):
            os.utime(source, (time.time() - 3600, time.time() - 3600))
            store.put_file(f"tracks/{number}", source, content_type="audio/wav")
    finally:
        done.set()
        opener.join()

    assert len(list(store.list("tracks/"))) == 60
