"""The temporary folder of one run. Whatever happens, it does not stay."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.failures import FailureCode, JobFailed

_PREFIX = "stemjob-run-"
_LOCK = "lock"


@contextmanager
def work_folder(parent: Path | None) -> Iterator[Path]:
    """A new folder under `parent` (default: the system's temporary folder), removed at the end.

    A runner that is killed cannot remove its own. So each folder is locked by its runner, and a new runner
    removes those whose lock is free.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_room(folder: Path, needed: int, limit: int | None) -> None:
    """Raises JobFailed (disk_full) when `needed` more bytes do not fit into `folder`.

    `limit` is the most that all files in it may take, whatever the disk's size; None: no limit but the disk.
    """
    room = shutil.disk_usage(folder).free
    if limit is not None:
        taken = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        room = min(room, limit - taken)
    if needed > room:
        raise JobFailed(
            FailureCode.DISK_FULL,
            f"The runner's disk is too small for this song: its temporary files take {needed / 1e9:,.2f} GB,"
            f" and {max(0, room) / 1e9:,.2f} GB are free.",
        )


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with (folder / _LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, being made or removed just now, or somebody else's
            continue
