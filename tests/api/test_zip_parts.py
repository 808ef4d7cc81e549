"""The parts of a ZIP, read by Python's zipfile and by Info-ZIP's unzip."""

import io
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import pytest

from api.zip_parts import Entry, zip_parts
from tests.testbed.requirements import missing_counterpart

MADE = datetime(2026, 11, 22, 21, 30, 59, 999_999, tzinfo=UTC)
GIB = 1 << 30


def unzip(*arguments: str | Path) -> str:
    program = shutil.which("unzip")
    if program is None:
        missing_counterpart("unzip is not installed: apt-get install unzip")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_parts_and_contents_in_turn_are_a_zip(tmp_path: Path) -> None:
    contents = {"vocals.wav": b"la " * 1000, "empty.wav": b"", "Пісня.wav": b"x"}
    entries = [Entry(name, len(content), crc32(content)) for name, content in contents.items()]

    parts = zip_parts(entries, MADE)

    whole = b"".join(part + content for part, content in zip(parts, [*contents.values(), b""], strict=True))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
        assert {info.date_time for info in archive.infolist()} == {(2026, 11, 22, 21, 30, 58)}
    (tmp_path / "a.zip").write_bytes(whole)
    assert "No errors detected" in unzip("-t", tmp_path / "a.zip")


def test_a_wrong_checksum_is_noticed() -> None:
    header, end = zip_parts([Entry("a", 3, crc32(b"abc") ^ 1)], MADE)

    with zipfile.ZipFile(io.BytesIO(header + b"abc" + end)) as archive:
        assert archive.testzip() == "a"


@pytest.mark.parametrize("size", [4 * GIB - 2, 4 * GIB - 1, 4 * GIB, 5 * GIB])
def test_entries_and_places_beyond_4_gib_are_found(tmp_path: Path, size: int) -> None:
    last = b"the last one"
    entries = [Entry("large", size, 0), Entry("small", len(last), crc32(last))]
    path = tmp_path / "large.zip"

    parts = zip_parts(entries, MADE)

    with path.open("wb") as file:  # a hole in place of the content takes no room
        file.write(parts[0])
        file.seek(size, io.SEEK_CUR)
        file.write(parts[1] + last + parts[2])
    with zipfile.ZipFile(path) as archive:
        assert [info.file_size for info in archive.infolist()] == [size, len(last)]
        assert archive.read("small") == last
        with archive.open("large") as large:  # its own header is read, too
            assert large.read(3) == b"\0\0\0"
    if size != 4 * GIB - 1:  # that one unzip 6.00 mistakes for the sign that the size stands elsewhere
        assert unzip("-p", path, "small") == last.decode()
