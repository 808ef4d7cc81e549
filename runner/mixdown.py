"""The second pass: nine tracks with their gains, in the format that was asked for."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from contract.tracks import ENCODINGS, OutputFormat, Track
from runner.analysis import instrumental
from runner.audio_files import SongReader, TrackWriter
from runner.checksums import WrittenFile
from runner.spool import Spool
from runner.waveform import Block


@dataclass(frozen=True)
class WrittenTrack:
    """A track's finished file, and how many of its samples the integer format had to limit."""

    file: WrittenFile
    clipped: int


class Mixdown:
    """Reads the song and the spool block by block, and writes the nine files into a folder."""

    def __init__(
        self,
        song: SongReader,
        spool: Spool,
        gains: Mapping[Track, float],
        wanted: OutputFormat,
        folder: Path,
        threads: int,
    ) -> None:
        """`gains` in dB; the nine files are encoded on `threads` threads."""
        self._song, self._spool, self._threads = song, spool, threads
        extension = ENCODINGS[wanted].extension
        self._writers = {
            track: TrackWriter(
                folder / f"{track}.{extension}",
                wanted,
                song.sample_rate,
                song.channels,
                song.frames,
                10 ** (gains[track] / 20),
            )
            for track in Track
        }
        self._written: dict[Track, WrittenTrack] = {}

    def run(self) -> Iterator[float]:
        """Writes everything; gives the share that is done, 0 to 1, after each block.

        Raises:
            JobFailed: disk_full.
        """
        done = 0
        with ThreadPoolExecutor(self._threads, "mixdown") as encoders:
            with self._spool.reader() as read:
                writing: Iterator[None] = iter(())
                for song in self._song.blocks():
                    tracks = nine_tracks(read(song.shape[1]), song)
                    list(writing)  # of the block before, which went on while this one was read
                    writing = encoders.map(self._write, tracks, tracks.values())
                    done += song.shape[1]
                    yield done / self._song.frames
                list(writing)
            self._written = dict(zip(Track, encoders.map(self._close, Track), strict=True))

    def _write(self, track: Track, block: Block) -> None:
        self._writers[track].write(block)

    def _close(self, track: Track) -> WrittenTrack:
        writer = self._writers[track]
        return WrittenTrack(writer.close(), writer.clipped)

    def result(self) -> Mapping[Track, WrittenTrack]:
        """The finished files."""
        return self._written


def nine_tracks(spooled: Mapping[Track, Block], song: Block) -> dict[Track, Block]:
    """The same frames of all nine tracks (README, "The nine tracks"), before any gain."""
    return {
        **spooled,
        Track.PERCUSSIVE: instrumental(spooled) - spooled[Track.HARMONIC],
        Track.MAIN: song,
        Track.MAIN_PERCUSSIVE: song - spooled[Track.MAIN_HARMONIC],
    }
