"""Test signals, and what several tests do with a stream. All blocks are float32 `(channels, samples)`."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]


def tone(frequency: float, dbfs: float, seconds: float, rate: int, channels: int = 2) -> Block:
    """A sine of the given peak level, the same in all channels."""
    time = np.arange(round(seconds * rate)) / rate
    sine = 10 ** (dbfs / 20) * np.sin(2 * np.pi * frequency * time)
    return np.tile(sine.astype(np.float32), (channels, 1))


def music(frames: int, channels: int = 2, rate: int = 44_100, seed: int = 1) -> Block:
    """Chords that swell, and bursts of noise four times a second: something for every part of the runner."""
    random = np.random.default_rng(seed)
    time = np.arange(frames) / rate
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 0.31 * time)
    voices = []
    for channel in range(channels):
        chord = sum(np.sin(2 * np.pi * f * (1 + 0.001 * channel) * time) for f in (220.0, 277.2, 329.6))
        hit = np.exp(-40 * (time * 4 % 1)) * random.standard_normal(frames)
        voices.append(0.08 * swell * chord + 0.15 * hit)
    return np.array(voices).reshape(channels, frames).astype(np.float32)


def square(frames: int, channels: int = 2, period: int = 100) -> Block:
    """A square wave at full scale."""
    wave = np.where(np.arange(frames) % period < period // 2, 1.0, -1.0)
    return np.tile(wave.astype(np.float32), (channels, 1))


def cut(signal: Block, lengths: Sequence[int]) -> Iterator[Block]:
    """The signal in blocks of the given lengths, over and over."""
    start = 0
    for length in cycle(lengths):
        if start >= signal.shape[1]:
            return
        yield signal[:, start : start + length].copy()
        start += length


def traced_peak(work: Callable[[], object]) -> int:
    """The largest amount of memory, in bytes, that Python and numpy held at once during `work`."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
