"""The runner's parts alone, on one thread: `python -m benchmarks.kernels`.

Harmonic-percussive separation against librosa, loudness and true peak against pyloudnorm and scipy, and the
time until a model is ready against a bare `import torch`; each beside its baseline, in turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.imports import AS_IN_IMAGES, compiled
from benchmarks.report import machine, save
from benchmarks.song import RATE, write_music
from runner.hpss import Hpss, ReferenceHpss
from runner.loudness import Meter, ReferenceMeter
from runner.waveform import BLOCK_FRAMES, Block
from tests.runner.tiny_models import save_full_size

BARE = "import torch"
READY = """
import sys
from runner.allocator import keep_memory
keep_memory()
import runner.attempt, runner.pipeline
from runner.weights import load_model
load_model(sys.argv[1])
"""


def blocks(song: Block) -> list[Block]:
    """As the runner reads it."""
    return [song[:, at : at + BLOCK_FRAMES] for at in range(0, song.shape[1], BLOCK_FRAMES)]


def harmonic(stream: Hpss | ReferenceHpss, song: Block) -> Block:
    """The harmonic part of the song."""
    return np.concatenate([*map(stream.push, blocks(song)), stream.flush()], axis=1)


def level(meter: Meter | ReferenceMeter, song: Block) -> float:
    """The song's loudness, its true peak measured on the way."""
    for block in blocks(song):
        meter.push(block)
    return meter.result().loudness or 0.0


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def in_turns(baseline: Callable[[], object], ours: Callable[[], object], rounds: int) -> list[list[float]]:
    """CPU seconds of both for each round, after one call that does not count."""
    baseline()
    ours()
    return [[cpu_seconds(baseline), cpu_seconds(ours)] for _ in range(rounds)]


def starts(weights: Path, rounds: int) -> dict[str, list[list[float]]]:
    """Whole processes, as in the image: a bare `import torch`, and a runner with its model loaded.

    Seconds on the clock, and of CPU, which other work on the machine disturbs less.
    """

    def seconds(code: str, environment: dict[str, str]) -> tuple[float, float]:
        began, before = time.perf_counter(), os.times()
        subprocess.run([sys.executable, "-c", AS_IN_IMAGES + code, str(weights)], env=environment, check=True)
        cpu = os.times().children_user + os.times().children_system
        return time.perf_counter() - began, cpu - before.children_user - before.children_system

    with compiled() as environment:
        pairs = [(seconds(BARE, environment), seconds(READY, environment)) for _ in range(rounds + 1)]
    counted = pairs[1:]  # the first round compiles
    return {
        f"start until the model is ready, {what}": [[bare[which], ready[which]] for bare, ready in counted]
        for which, what in enumerate(("clock", "CPU"))
    }


def main(arguments: list[str] | None = None) -> None:
    """One table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = write_music(Path(folder) / "song.wav", chosen.seconds)
        song = np.ascontiguousarray(soundfile.read(file, dtype="float32")[0].T)
        weights = save_full_size(Path(folder) / "full.safetensors")
        table = {
            "HPSS": in_turns(
                lambda: harmonic(ReferenceHpss(2), song), lambda: harmonic(Hpss(2), song), chosen.rounds
            ),
            "loudness and true peak": in_turns(
                lambda: level(ReferenceMeter(RATE, 2), song),
                lambda: level(Meter(RATE, 2), song),
                chosen.rounds,
            ),
            **starts(weights, chosen.rounds),
        }
    error = np.abs(harmonic(ReferenceHpss(2), song) - harmonic(Hpss(2), song)).max()
    difference = abs(level(ReferenceMeter(RATE, 2), song) - level(Meter(RATE, 2), song))
    print(f"{chosen.seconds:.0f} s of music, {chosen.rounds} rounds, one thread; {machine()}")
    print(f"{'':<38}{'baseline s':>12}{'ours s':>10}{'ratio':>8}")
    for name, rows in table.items():
        base, ours = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:<38}{base:>12.3f}{ours:>10.3f}{statistics.median(b / o for b, o in rows):>8.2f}")
    print(f"HPSS differs by {error:.1e} at most, loudness by {difference:.1e} LU")
    save("kernels", {"seconds": chosen.seconds, "rounds": table, "error": [float(error), difference]})


if __name__ == "__main__":
    main()
