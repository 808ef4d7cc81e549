"""Six float tracks on local disk, between the pass that measures and the pass that writes.

The other three are made of them: the song is decoded again, and a percussive track is what its harmonic one
leaves of the whole.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from contract.failures import FailureCode, JobFailed
from contract.tracks import Track
from runner.waveform import Block, interleaved

SPOOLED = (Track.VOCALS, Track.DRUMS, Track.BASS, Track.OTHER, Track.HARMONIC, Track.MAIN_HARMONIC)
SPOOLED_BYTES = 4
"""Bytes of a sample."""


class Spool:
    """Appends blocks to each of the `SPOOLED` tracks, and gives them back in blocks of any size.

    Writing ends with the `with` block; after an error in it nothing can be read.
    """

    def __init__(self, folder: Path, channels: int) -> None:
        """`folder` exists; what an earlier spool left there is overwritten."""
        self._channels = channels
        self._paths = {track: folder / f"{track}.f32" for track in SPOOLED}
        with _disk():
            self._files = {track: path.open("wb") for track, path in self._paths.items()}

    def write(self, track: Track, block: Block) -> None:
        """Appends frames. Raises JobFailed (disk_full)."""
        with _disk():
            self._files[track].write(interleaved(block).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if kind else _disk(), ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Mapping[Track, Block]]]:
        """A function that gives the next so many frames of all tracks, from the beginning."""
        with ExitStack() as stack:
            files = {track: stack.enter_context(path.open("rb")) for track, path in self._paths.items()}

            def read(frames: int) -> Mapping[Track, Block]:
                samples = frames * self._channels
                return {
                    track: np.fromfile(file, np.float32, samples).reshape(frames, self._channels).T
                    for track, file in files.items()
                }

            yield read

    def remove(self) -> None:
        """Frees the disk."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JobFailed(FailureCode.DISK_FULL, "The runner's disk is full.") from error
        raise
