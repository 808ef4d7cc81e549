"""A store in a folder: for one machine, for tests, and as the reference of what a store promises."""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self

from contract.stores import (
    CHUNK_BYTES,
    CREATE_ONLY,
    ObjectInfo,
    ObjectNotFound,
    PreconditionFailed,
    Store,
    StoreError,
    StoreFull,
)

_TEMPORARY = ".tmp"
_ABANDONED_AFTER_SECONDS = 60


class FileStore:
    """Objects are files under `root`; the generation is the time of the write in nanoseconds.

    A write goes to a temporary file that its writer holds locked, is flushed to disk, and becomes visible by
    a rename or a link, so it is atomic also when the machine loses power. Temporary files whose lock is free
    were left by a process that died: opening the store removes them.
    """

    def __init__(self, root: Path) -> None:
        """Opens or creates the folder. Raises StoreError when it cannot be written."""
        self._root = root
        with _translated(str(root)):
            (root / _TEMPORARY).mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()

    def uri(self, key: str) -> str:
        return str(self._path(key))

    def writer(self, key: str, *, content_type: str, if_generation: int | None = None) -> "FileWriter":
        del content_type  # a folder has no place for it
        with _translated(key):
            return FileWriter(self, key, self._temporary(), if_generation)

    def put(
        self, key: str, content: bytes, *, content_type: str, if_generation: int | None = None
    ) -> ObjectInfo:
        with self.writer(key, content_type=content_type, if_generation=if_generation) as writer:
            writer.write(content)
            return writer.commit()

    def put_file(
        self, key: str, path: Path, *, content_type: str, if_generation: int | None = None
    ) -> ObjectInfo:
        del content_type
        temporary = self._temporary()
        with _translated(key):
            os.utime(path)  # the link shares its time, and an old file would look abandoned
            _link_or_copy(path, temporary)
            try:
                with temporary.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    os.fsync(file.fileno())
                    return self.publish(key, temporary, if_generation)
            finally:
                temporary.unlink(missing_ok=True)

    def stat(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with _translated(key):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _info(key, status) if path.is_file() else None

    def get(self, key: str) -> tuple[bytes, ObjectInfo] | None:
        with _translated(key):
            try:
                file = self._path(key).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            with file:
                return file.read(), _info(key, os.fstat(file.fileno()))

    def read(
        self, key: str, *, generation: int | None = None, start: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        blocks = self._blocks(key, generation, start, length)
        next(blocks)  # opens the file, so that a missing object is an error here and not in the middle
        return blocks

    def fetch(self, key: str, path: Path, *, generation: int | None = None) -> None:
        partial = path.with_name(f".{path.name}.part")
        with self._open(key, generation), _translated(key):
            partial.unlink(missing_ok=True)
            _link_or_copy(self._path(key), partial)
            partial.replace(path)
            partial.unlink(missing_ok=True)  # still there when both were names of the same bytes

    def list(self, prefix: str, start: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        folder = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self._root
        cut = len(self._root.as_posix()) + 1
        files = (f"{place}/{name}" for place, _, names in os.walk(folder) for name in names)
        keys = (file[cut:] for file in files)
        wanted = (key for key in keys if key.startswith(prefix) and key >= start)
        for key in sorted(key for key in wanted if key.split("/")[0] != _TEMPORARY)[:limit]:
            info = self.stat(key)
            if info is not None:
                yield info

    def delete(self, key: str) -> None:
        with _translated(key):
            self._path(key).unlink(missing_ok=True)
            self._remove_empty_folders(self._path(key).parent)

    def delete_prefix(self, prefix: str) -> None:
        for info in list(self.list(prefix)):
            self.delete(info.key)

    def publish(self, key: str, temporary: Path, if_generation: int | None) -> ObjectInfo:
        """Makes a finished temporary file visible as `key`; the file itself may stay. For `FileWriter`."""
        path = self._path(key)
        written = time.time_ns()  # explicit: the kernel's own clock for files ticks only every few ms
        os.utime(temporary, ns=(written, written))
        with self._folder_lock():
            path.parent.mkdir(parents=True, exist_ok=True)
            if if_generation == CREATE_ONLY:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    raise PreconditionFailed(f"{key} exists already.") from None
            else:
                present = self.stat(key)
                if if_generation is not None and (present is None or present.generation != if_generation):
                    raise PreconditionFailed(f"{key} has changed in the meantime.")
                temporary.replace(path)
            _sync_folder(path.parent)
        return _info(key, path.stat())

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if key.startswith("/") or ".." in parts or "\0" in key:
            raise StoreError(f"{key!r} is not a key of a store.")
        return self._root.joinpath(*parts)

    def _temporary(self) -> Path:
        return self._root / _TEMPORARY / secrets.token_hex(16)

    def _open(self, key: str, generation: int | None) -> BinaryIO:
        with _translated(key):
            try:
                file = self._path(key).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectNotFound(f"{key} is not there.") from None
        if generation is not None and os.fstat(file.fileno()).st_mtime_ns != generation:
            file.close()
            raise ObjectNotFound(f"{key} is not there in generation {generation}.")
        return file

    def _blocks(
        self, key: str, generation: int | None, start: int, length: int | None
    ) -> Generator[bytes, None, None]:
        with self._open(key, generation) as file, _translated(key):
            yield b""
            file.seek(start)
            left = length if length is not None else os.fstat(file.fileno()).st_size - start
            while left > 0 and (block := file.read(min(CHUNK_BYTES, left))):
                left -= len(block)
                yield block

    @contextmanager
    def _folder_lock(self) -> Iterator[None]:
        """One conditional write at a time, over all processes: compare and swap takes two steps."""
        with (self._root / _TEMPORARY / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _remove_empty_folders(self, folder: Path) -> None:
        with self._folder_lock():  # else a writer's new folder might vanish under it
            while folder != self._root:
                try:
                    folder.rmdir()
                except OSError:  # not empty, or gone
                    return
                folder = folder.parent

    def _remove_abandoned(self) -> None:
        for path in (self._root / _TEMPORARY).iterdir():
            try:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if path.name != "lock" and time.time() - path.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                        path.unlink()
            except (BlockingIOError, FileNotFoundError):
                continue


class FileWriter:
    """A temporary file, locked as long as its writer lives."""

    def __init__(self, store: FileStore, key: str, temporary: Path, if_generation: int | None) -> None:
        self._store, self._key, self._if_generation = store, key, if_generation
        self._temporary = temporary
        self._file = temporary.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, block: bytes) -> None:
        with _translated(self._key):
            self._file.write(block)

    def commit(self) -> ObjectInfo:
        with _translated(self._key):
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._store.publish(self._key, self._temporary, self._if_generation)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.unlink(missing_ok=True)
        with _translated(self._key):
            self._file.close()


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    updated = datetime.fromtimestamp(status.st_mtime, UTC)
    return ObjectInfo(key, status.st_size, status.st_mtime_ns, updated)


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system can do it, else a copy."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise StoreFull("The disk of the store is full.") from error
        raise StoreError(f"The store cannot be used at {key}: {error.strerror}.") from error


def _is_a_store(store: FileStore) -> Store:
    """Lets the type checker prove that this class keeps the promise."""
    return store
