"""The first pass over a song: separation, HPSS, levels. Float tracks go to the spool."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contract.job import OtherMethod
from contract.stages import StageName
from contract.tracks import Track
from runner.audio_files import SongReader
from runner.gpu.hpss import GpuHpss
from runner.gpu.loudness import GpuMeter
from runner.hpss import HarmonicFilter, HarmonicPercussive, Hpss, ReferenceHpss
from runner.loudness import Level, Meter, ReferenceMeter
from runner.progress import ProgressReport
from runner.separation import STEMS
from runner.settings import Dsp
from runner.spool import Spool
from runner.stems import StemSplitter
from runner.waveform import Block


class Gauge(Protocol):
    """What `Meter`, `GpuMeter` and `ReferenceMeter` have in common."""

    def push(self, block: Block) -> None: ...

    def result(self) -> Level: ...


@dataclass(frozen=True)
class Measured:
    """What the first pass found out. `residual_db` as in `contract.manifest.Manifest`."""

    levels: Mapping[Track, Level]
    residual_db: float | None


class Residual:
    """Energy of what the four stems leave of the song, against the song's."""

    def __init__(self) -> None:
        self._song = 0.0
        self._rest = 0.0

    def push(self, song: Block, stems: Sequence[Block]) -> None:
        """Takes the same frames of the song and of each stem, `(channels, k)`."""
        rest = song.astype(np.float64)
        for stem in stems:
            rest -= stem
        self._song += float(np.square(song, dtype=np.float64).sum())
        self._rest += float(np.square(rest).sum())

    def result(self) -> float | None:
        """In dB; None when there is no residual or no song."""
        if self._song == 0 or self._rest == 0:
            return None
        return 10 * math.log10(self._rest / self._song)


class Analysis:
    """Stages one to three, which run interleaved: each block passes all of them.

    While the network hears the next segment, helper threads take the block before through stages two and
    three. They are never more than one block behind, so that memory stays what it is.
    """

    def __init__(
        self,
        song: SongReader,
        spool: Spool,
        report: ProgressReport,
        dsp: Dsp,
        other: OtherMethod,
        helpers: Executor,
        device: str,
    ) -> None:
        """Stages two and three are computed on `device`, too, by `helpers`; the reference's on the CPU."""
        self._song, self._spool, self._report, self._other = song, spool, report, other
        self._helpers = helpers
        on = None if dsp is Dsp.REFERENCE else device
        self._residual = Residual()
        self._gauges = {
            track: helpers.submit(_gauge, song.sample_rate, song.channels, on).result() for track in Track
        }
        self._of_instrumental, self._of_song = (
            HarmonicPercussive(song.channels, helpers.submit(_harmonic_filter, song.channels, on).result())
            for _ in range(2)
        )
        self._taken: list[Future[None]] = []
        self._done = self._taking = 0  # frames

    def run(self, splitter: StemSplitter) -> Iterator[float]:
        """Passes the whole song through; gives the share that is done, 0 to 1, after each block.

        Stage one has begun before this.
        """
        for stems, song in splitter.run():
            if song.shape[1]:
                self._wait()
                self._take(stems, song)
            yield self._done / self._song.frames
        self._wait()
        for end in (self._end_of_instrumental, self._end_of_song):
            self._helpers.submit(end).result()
        levels = self._helpers.map(lambda gauge: gauge.result(), self._gauges.values())
        self._levels = dict(zip(self._gauges, levels, strict=True))
        # Only now, since a GPU may be out of memory until here, and then all begins again.
        for stage in (StageName.SEPARATION, StageName.HPSS, StageName.COMPOSITE):
            self._report.complete(stage)
        yield 1.0

    def result(self) -> Measured:
        """Levels before any gain; after the run."""
        return Measured(self._levels, self._residual.result())

    def _wait(self) -> None:
        """Until the block before is done."""
        for part in self._taken:
            part.result()
        self._done += self._taking
        self._taken, self._taking = [], 0

    def _take(self, stems: Block, song: Block) -> None:
        """Begins with the next block. Its parts do not depend on each other."""
        tracks = dict(zip(STEMS, stems, strict=True))
        if self._other is OtherMethod.MINUS:
            tracks[Track.OTHER] = song - tracks[Track.VOCALS] - tracks[Track.DRUMS] - tracks[Track.BASS]
        begin = self._helpers.submit
        self._taking = song.shape[1]
        self._taken = [begin(self._stem, track, block) for track, block in tracks.items()]
        self._taken.append(begin(self._residual.push, song, list(tracks.values())))
        self._report.begin(StageName.HPSS)
        self._taken.append(begin(self._instrumental, instrumental(tracks)))
        self._report.begin(StageName.COMPOSITE)
        self._taken.append(begin(self._song_itself, song))

    def _stem(self, track: Track, block: Block) -> None:
        self._spool.write(track, block)
        self._gauges[track].push(block)

    def _instrumental(self, block: Block) -> None:
        self._instrumental_parts(*self._of_instrumental.push(block))

    def _end_of_instrumental(self) -> None:
        self._instrumental_parts(*self._of_instrumental.flush())

    def _song_itself(self, block: Block) -> None:
        self._song_parts(*self._of_song.push(block))

    def _end_of_song(self) -> None:
        self._song_parts(*self._of_song.flush())

    def _instrumental_parts(self, harmonic: Block, percussive: Block, _: Block) -> None:
        self._spool.write(Track.HARMONIC, harmonic)
        self._gauges[Track.HARMONIC].push(harmonic)
        self._gauges[Track.PERCUSSIVE].push(percussive)

    def _song_parts(self, harmonic: Block, percussive: Block, song: Block) -> None:
        self._spool.write(Track.MAIN_HARMONIC, harmonic)
        self._gauges[Track.MAIN_HARMONIC].push(harmonic)
        self._gauges[Track.MAIN_PERCUSSIVE].push(percussive)
        self._gauges[Track.MAIN].push(song)


def _gauge(sample_rate: int, channels: int, device: str | None) -> Gauge:
    match device:
        case None:
            return ReferenceMeter(sample_rate, channels)
        case "cpu":
            return Meter(sample_rate, channels)
        case _:
            return GpuMeter(sample_rate, channels, device)


def _harmonic_filter(channels: int, device: str | None) -> HarmonicFilter:
    match device:
        case None:
            return ReferenceHpss(channels)
        case "cpu":
            return Hpss(channels)
        case _:
            return GpuHpss(channels, device)


def instrumental(tracks: Mapping[Track, Block]) -> Block:
    """The accompaniment: drums + bass + other, always summed in this order, so that both passes agree."""
    return tracks[Track.DRUMS] + tracks[Track.BASS] + tracks[Track.OTHER]
