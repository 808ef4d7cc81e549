"""Lets libsndfile read an MP3 file of unknown length to its end."""

import io
import os

_FAR = 1 << 40


class EndlessFile(io.FileIO):
    """A file that claims to be a terabyte long, for reading from its beginning.

    When no Xing tag counts the frames, libsndfile estimates their number from the file's length and the first
    bit rates, and reads no further: of a song with a variable bit rate most can be missing. From a length far
    beyond the truth it estimates too many, and reads until there is nothing more.
    """

    _claimed: int | None = None  # where in the part that does not exist

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            self._claimed = _FAR + offset
            return self._claimed
        self._claimed = None
        return super().seek(offset, whence)

    def tell(self) -> int:
        return super().tell() if self._claimed is None else self._claimed

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # all that soundfile passes
        """Zeros where nothing exists: there libsndfile looks for an ID3v1 tag, and nothing else."""
        if self._claimed is None:
            return super().readinto(buffer) or 0
        buffer[:] = bytes(len(buffer))
        self._claimed += len(buffer)
        return len(buffer)
