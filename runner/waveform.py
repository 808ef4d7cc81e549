"""Sample rate and channel count of a stream of blocks.

A block is float32 of shape `(channels, k)`, full scale ±1, k ≥ 0. Nothing here changes its argument.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

Block = NDArray[np.float32]

BLOCK_FRAMES = 65_536
"""How many frames the runner's passes handle at once."""


def empty(channels: int) -> Block:
    """A block of no frames."""
    return np.zeros((channels, 0), np.float32)


def to_channels(block: Block, channels: int) -> Block:
    """A mono or stereo block as 1 or 2 channels: mono is doubled, stereo becomes the mean of its two."""
    if block.shape[0] == channels:
        return block
    if channels == 1:
        mean: Block = block.mean(axis=0, keepdims=True, dtype=np.float32)
        return mean
    return np.repeat(block, channels, axis=0)


def to_stereo(block: Block) -> Block:
    """A mono or stereo block as two channels."""
    return to_channels(block, 2)


def interleaved(block: Block) -> Block:
    """The samples as files have them, `(k, channels)`: numpy takes four times as long to copy a transpose."""
    samples = np.empty(block.shape[::-1], block.dtype)
    for channel, row in enumerate(block):
        samples[:, channel] = row
    return samples


class Resampler:
    """Brings a stream from one sample rate to another (libsoxr, HQ: linear phase, no delay, 20 bit).

    However the stream is cut into blocks, the result is what `soxr.resample` makes of the whole at once. Its
    length is exactly `round(frames · rate_out / rate_in)` unless `flush` is told another.
    """

    def __init__(self, channels: int, rate_in: int, rate_out: int) -> None:
        """Rates in Hz; equal rates pass everything through."""
        self._channels, self._rate_in, self._rate_out = channels, rate_in, rate_out
        self._stream = None if rate_in == rate_out else soxr.ResampleStream(rate_in, rate_out, channels)
        self._taken = 0
        self._given = 0

    def push(self, block: Block) -> Block:
        """Takes the next frames and gives those that are ready."""
        self._taken += block.shape[1]
        ready = block if self._stream is None else self._resampled(block, last=False)
        self._given += ready.shape[1]
        return ready

    def flush(self, total: int | None = None) -> Block:
        """The rest. `total`: the number of frames that all results together must have.

        libsoxr's own count may differ by one frame; then the end is cut or filled with silence.
        """
        if total is None:
            total = round(self._taken * self._rate_out / self._rate_in)
        rest = empty(self._channels)
        if self._stream is not None:
            rest = self._resampled(rest, last=True)
        missing = total - self._given
        if missing < 0:
            raise ValueError(f"{self._given} frames were given already, more than the {total} asked for")
        self._given = total
        filled = np.zeros((self._channels, missing), np.float32)
        usable = min(missing, rest.shape[1])
        filled[:, :usable] = rest[:, :usable]
        return filled

    def _resampled(self, block: Block, *, last: bool) -> Block:
        assert self._stream is not None
        interleaved: Block = self._stream.resample_chunk(np.ascontiguousarray(block.T), last)
        return np.ascontiguousarray(interleaved.T)


class Fifo:
    """Frames that wait until their time has come; holds references to the blocks, not copies."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._blocks: deque[Block] = deque()
        self.frames = 0

    def push(self, block: Block) -> None:
        """Puts frames at the end."""
        if block.shape[1]:
            self._blocks.append(block)
            self.frames += block.shape[1]

    def pull(self, frames: int) -> Block:
        """Takes the first `frames` frames. Raises ValueError when there are fewer."""
        if frames > self.frames:
            raise ValueError(f"{frames} frames asked for, {self.frames} are waiting")
        self.frames -= frames
        return np.concatenate([empty(self._channels), *self._taken(frames)], axis=1)

    def _taken(self, frames: int) -> Iterator[Block]:
        while frames:
            block = self._blocks.popleft()
            if block.shape[1] > frames:
                self._blocks.appendleft(block[:, frames:])
                block = block[:, :frames]
            frames -= block.shape[1]
            yield block
