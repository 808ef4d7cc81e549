"""The pool of synthesized songs that training draws from, kept as one array of 16 bit samples on disk."""

import hashlib
import json
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from training.composition import STEMS
from training.shots import Shots
from training.synthesis import synthesize

HELD_OUT = 1_000_000
"""Seeds from here on are for evaluation only; training uses those below."""

_RECIPE = ("bass", "composition", "drums", "instruments", "shots", "signals", "synthesis", "voice")
"""The modules that say what a song sounds like."""

_SILENT = (0.1, 0.05, 0.05, 0.1)
"""How often each stem is left out of an example, in the order of `STEMS`."""


def _render(task: tuple[Path, tuple[int, ...], int, int, float, int, Path]) -> int:
    """Writes one song to its row of the array; a top-level function, as worker processes need it."""
    path, shape, row, seed, seconds, rate, shots = task
    pool = np.memmap(path, dtype=np.int16, mode="r+", shape=shape)
    stems = synthesize(seed, seconds, rate, Shots(shots))
    pool[row] = np.round(np.stack([stems[name] for name in STEMS]) * 32767.0).astype(np.int16)
    return row


def open_pool(
    folder: Path, shots: Path, songs: int, seconds: float, rate: int, first_seed: int = 0, workers: int = 2
) -> NDArray[np.int16]:
    """The pool as a read-only array `[shape=(songs, stems, 2, n)]`, rendered first where it is missing.

    Args:
        folder: keeps `pool.int16` (raw samples) and `pool.json` (what it holds).
        shots: the file of one-shots that play half of the parts.
        songs: number of songs, with the seeds first_seed, first_seed + 1, ...
        seconds: length of each song.
        rate: sample rate in Hz.
        first_seed: seed of the first song.
        workers: processes that render.

    Raises:
        MissingError: the pool is not there and the one-shots are not either.
        ValueError: the seeds would reach into those held out for evaluation.
    """
    if first_seed + songs > HELD_OUT:
        raise ValueError(f"seeds from {HELD_OUT} on are held out for evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    path, note = folder / "pool.int16", folder / "pool.json"
    shape = (songs, len(STEMS), 2, round(seconds * rate))
    contents = {
        "first_seed": first_seed,
        "songs": songs,
        "seconds": seconds,
        "rate": rate,
        "shots": shots.name,
        "recipe": _recipe(),
    }
    if not (note.is_file() and json.loads(note.read_text()) == contents):
        Shots(shots)
        note.unlink(missing_ok=True)
        np.memmap(path, dtype=np.int16, mode="w+", shape=shape).flush()
        tasks = [(path, shape, row, first_seed + row, seconds, rate, shots) for row in range(songs)]
        with ProcessPoolExecutor(workers) as executor:
            for done, _ in enumerate(executor.map(_render, tasks), start=1):
                if done % 20 == 0:
                    print(f"rendered {done} of {songs} songs", flush=True)
        note.write_text(json.dumps(contents))
    return np.memmap(path, dtype=np.int16, mode="r", shape=shape)


def _recipe() -> str:
    """Changes with what songs are made of, so that no pool of an older recipe is taken for today's."""
    code = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in _RECIPE]
    return hashlib.sha256(b"".join(code)).hexdigest()


def draw_batch(
    rng: np.random.Generator, pool: NDArray[np.int16], batch: int, length: int, rate: int
) -> NDArray[np.float32]:
    """A batch of remixed excerpts `[shape=(batch, stems, 2, length)]`; the sum over stems is the mixture.

    Half of the examples keep the stems of one song together (they share key and beat, as in real music),
    the others combine stems of different songs. Every stem gets its own gain (-8 to 4 dB), polarity and order
    of channels, half of the time another tone (`shelves`); now and then one is silent.
    """
    songs, stems, channels, total = pool.shape
    out = np.zeros((batch, stems, channels, length), dtype=np.float32)
    for example in out:
        song = int(rng.integers(songs))
        start = int(rng.integers(total - length + 1))
        together = bool(rng.random() < 0.5)
        for position, silent in enumerate(_SILENT):
            if not together:
                song = int(rng.integers(songs))
                start = int(rng.integers(total - length + 1))
            if rng.random() < silent:
                continue
            gain = 10.0 ** (rng.uniform(-8.0, 4.0) / 20.0) * rng.choice([-1.0, 1.0]) / 32767.0
            audio = pool[song, position, :, start : start + length]
            audio = gain * (audio[::-1] if rng.random() < 0.5 else audio).astype(np.float32)
            example[position] = shelves(rng, audio, rate) if rng.random() < 0.5 else audio
    return out


def shelves(rng: np.random.Generator, audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Random tone controls: lows and highs raised or lowered by up to 8 and 6 dB; same shape, time last.

    Without them a stem would be known by how much of a range it has rather than by what it plays.
    """
    length = audio.shape[-1]
    size = fft.next_fast_len(length, real=True)
    frequency = np.fft.rfftfreq(size, 1.0 / rate)
    gain_db = np.zeros_like(frequency)
    for lowest, highest, reach, side in ((60.0, 400.0, 8.0, -1.0), (1500.0, 6000.0, 6.0, 1.0)):
        corner = math.exp(rng.uniform(math.log(lowest), math.log(highest)))
        # Smooth over about two octaves, zero phase: half the gain at the corner.
        ratio = (np.maximum(frequency, 1.0) / corner) ** (2.0 * side)
        gain_db += rng.uniform(-reach, reach) * ratio / (1.0 + ratio)
    spectrum = fft.rfft(audio, size, axis=-1) * (10.0 ** (gain_db / 20.0)).astype(np.float32)
    return np.asarray(fft.irfft(spectrum, size, axis=-1)[..., :length], dtype=np.float32)
