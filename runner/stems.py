"""The four stems of a song at the song's own sample rate and channels."""

from collections.abc import Iterator

import numpy as np

from runner.audio_files import SongReader
from runner.separation import STEMS, MixStatistics, Separator
from runner.waveform import Block, Fifo, Resampler, to_channels, to_stereo


def measure_mix(song: SongReader, model_rate: int) -> tuple[float, float]:
    """Mean and deviation by which the network's input is normalised: one pass over the song.

    Raises:
        JobFailed: invalid_audio; after this pass the song is known to decode to its end.
    """
    statistics = MixStatistics()
    resampler = Resampler(song.channels, song.sample_rate, model_rate)
    for block in song.blocks():
        statistics.push(to_stereo(resampler.push(block)))
    statistics.push(to_stereo(resampler.flush()))
    return statistics.result()


class StemSplitter:
    """Takes a song block by block; gives stems `(4, channels, k)` and the same `k` frames of the song.

    Mono is heard as stereo and comes back as the mean of its two channels. From the first frame on, stems and
    song are aligned, and in all there are exactly as many frames as came in.
    """

    def __init__(self, song: SongReader, separator: Separator, model_rate: int) -> None:
        """`separator` is normalised by what `measure_mix` says; `model_rate` in Hz is its network's."""
        self._reader, self._channels = song, song.channels
        self._to_model = Resampler(song.channels, song.sample_rate, model_rate)
        self._from_model = Resampler(len(STEMS) * song.channels, model_rate, song.sample_rate)
        self._separator = separator
        self._song = Fifo(song.channels)

    def run(self) -> Iterator[tuple[Block, Block]]:
        """Passes the whole song through."""
        for block in self._reader.blocks():
            yield self.push(block)
        yield self.flush()

    def push(self, block: Block) -> tuple[Block, Block]:
        """The next frames of the song, `(channels, k)`."""
        self._song.push(block)
        stems = self._separator.push(to_stereo(self._to_model.push(block)))
        return self._aligned(self._from_model.push(self._flat(stems)))

    def flush(self) -> tuple[Block, Block]:
        """The rest."""
        last = self._separator.push(to_stereo(self._to_model.flush()))
        rest = np.concatenate([last, self._separator.flush()], axis=2)
        ready = self._from_model.push(self._flat(rest))
        end = self._from_model.flush(total=self._reader.frames)
        return self._aligned(np.concatenate([ready, end], axis=1))

    def _flat(self, stems: Block) -> Block:
        """All channels of all stems one below the other, `(4 · channels, k)`."""
        if stems.shape[1] == self._channels:
            return stems.reshape(len(STEMS) * self._channels, stems.shape[2])
        return np.concatenate([to_channels(stem, self._channels) for stem in stems])

    def _aligned(self, flat: Block) -> tuple[Block, Block]:
        stems = flat.reshape(len(STEMS), self._channels, flat.shape[1])
        return stems, self._song.pull(flat.shape[1])
