"""The first pass over a song: separation, HPSS, levels. Float tracks go to the spool."""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contract.job import OtherMethod
from contract.stages import StageName
from contract.tracks import Track
from runner.audio_files import SongReader
from runner.device import use_threads
from runner.hpss import HarmonicPercussive, ReferenceHpss
from runner.loudness import Level, Meter, ReferenceMeter
from runner.progress import ProgressReport
from runner.separation import STEMS
from runner.settings import Dsp
from runner.spool import Spool
from runner.stems import StemSplitter
from runner.waveform import Block


class Gauge(Protocol):
    """What `Meter` and `ReferenceMeter` have in common."""

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

    def push(self, song: Block, stems: Block) -> None:
        """Takes the same frames of the song, `(channels, k)`, and of the stems, `(4, channels, k)`."""
        rest = song - stems.sum(axis=0, dtype=np.float64)
        self._song += float(np.square(song, dtype=np.float64).sum())
        self._rest += float(np.square(rest).sum())

    def result(self) -> float | None:
        """In dB; None when there is no residual or no song."""
        if self._song == 0 or self._rest == 0:
            return None
        return 10 * math.log10(self._rest / self._song)


class Analysis:
    """Stages one to three, which run interleaved: each block passes all of them.

    While the network hears the next segment, one helper thread takes the block before through stages two and
    three. It is never more than one block behind, so that memory stays what it is.
    """

    def __init__(
        self, song: SongReader, spool: Spool, report: ProgressReport, dsp: Dsp, other: OtherMethod
    ) -> None:
        self._song, self._spool, self._report, self._other = song, spool, report, other
        self._residual = Residual()
        reference = dsp is Dsp.REFERENCE
        gauge = ReferenceMeter if reference else Meter
        self._gauges: dict[Track, Gauge] = {t: gauge(song.sample_rate, song.channels) for t in Track}
        self._of_instrumental, self._of_song = (
            HarmonicPercussive(song.channels, ReferenceHpss(song.channels) if reference else None)
            for _ in range(2)
        )
        self._done = 0

    def run(self, splitter: StemSplitter) -> Iterator[float]:
        """Passes the whole song through; gives the share that is done, 0 to 1, after each block.

        Stage one has begun before this.
        """
        # One thread of torch's is enough for the helper; the network has the others.
        with ThreadPoolExecutor(1, "analysis", use_threads, (1,)) as helper:
            taken: Future[None] | None = None
            for stems, song in splitter.run():
                if song.shape[1]:
                    if taken:
                        taken.result()
                    taken = helper.submit(self._take, stems, song)
                yield self._done / self._song.frames
            self._report.complete(StageName.SEPARATION)
            if taken:
                taken.result()
        self._instrumental_parts(*self._of_instrumental.flush())
        self._report.complete(StageName.HPSS)
        self._song_parts(*self._of_song.flush())
        self._report.complete(StageName.COMPOSITE)
        yield 1.0

    def result(self) -> Measured:
        """Levels before any gain."""
        levels = {track: gauge.result() for track, gauge in self._gauges.items()}
        return Measured(levels, self._residual.result())

    def _take(self, stems: Block, song: Block) -> None:
        tracks = dict(zip(STEMS, stems, strict=True))
        if self._other is OtherMethod.MINUS:
            tracks[Track.OTHER] = song - tracks[Track.VOCALS] - tracks[Track.DRUMS] - tracks[Track.BASS]
        for track, block in tracks.items():
            self._spool.write(track, block)
            self._gauges[track].push(block)
        self._residual.push(song, np.stack(list(tracks.values())))
        self._report.begin(StageName.HPSS)
        self._instrumental_parts(*self._of_instrumental.push(instrumental(tracks)))
        self._report.begin(StageName.COMPOSITE)
        self._song_parts(*self._of_song.push(song))
        self._done += song.shape[1]

    def _instrumental_parts(self, harmonic: Block, percussive: Block, _: Block) -> None:
        self._spool.write(Track.HARMONIC, harmonic)
        self._gauges[Track.HARMONIC].push(harmonic)
        self._gauges[Track.PERCUSSIVE].push(percussive)

    def _song_parts(self, harmonic: Block, percussive: Block, song: Block) -> None:
        self._spool.write(Track.MAIN_HARMONIC, harmonic)
        self._gauges[Track.MAIN_HARMONIC].push(harmonic)
        self._gauges[Track.MAIN_PERCUSSIVE].push(percussive)
        self._gauges[Track.MAIN].push(song)


def instrumental(tracks: Mapping[Track, Block]) -> Block:
    """The accompaniment: drums + bass + other, always summed in this order, so that both passes agree."""
    return tracks[Track.DRUMS] + tracks[Track.BASS] + tracks[Track.OTHER]
