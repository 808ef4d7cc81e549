"""A whole song through a runner, from the start of its process to its last byte: `python -m benchmarks.song`.

Baseline in the same run, in turns: the obvious runner, `benchmarks.stock`. All separate with htdemucs'
architecture in full size and random weights; speed does not depend on what weights say. Targets on two cores:
see docs/performance.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.report import machine, save
from contract.tracks import Track
from runner.device import feasible
from runner.settings import Precision
from tests.runner.jobs import Job
from tests.runner.tiny_models import save_cheapest, save_full_size

MUSIC = Path(__file__).parents[1] / "tests" / "data" / "lets_go_fishin.ogg"
RATE = 44_100
VARIANTS = {
    "default": {},
    "fast": {"STEMJOB_PRECISION": "fast"},
}


@dataclass
class Run:
    """One process: seconds on the clock and of CPU, largest memory in MiB, its files' greatest error.

    `steps` is the most that a sample of the nine 16-bit files differs from the baseline's, in steps.
    """

    wall: float
    cpu: float
    rss: float
    steps: int = 0


def write_music(path: Path, seconds: float) -> Path:
    """The music of tests/data over and over, 16 bits, written a minute at a time."""
    music, rate = soundfile.read(MUSIC, dtype="float32", always_2d=True)
    assert rate == RATE
    left = round(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        while left:
            part = music[:left]
            file.write(part)
            left -= len(part)
    return path


def timed(command: list[str], environment: dict[str, str]) -> Run:
    """Runs a command to its end."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{log}")
    return Run(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def run_stock(folder: Path, song: Path, weights: Path, settings: dict[str, str]) -> Run:
    """The obvious runner, which leaves its files in `folder`/stock."""
    results = folder / "stock"
    results.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": settings["STEMJOB_THREADS"], **settings}
    command = [sys.executable, "-m", "benchmarks.stock", str(song), str(weights), str(results)]
    return timed(command, environment)


def run_ours(folder: Path, song: Path, weights: Path, settings: dict[str, str], *, compare: bool) -> Run:
    """`python -m runner` on a file store."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        job = Job(Path(place), weights).create(song)
        run = timed([sys.executable, "-m", "runner"], job.environment(**settings))
        manifest = job.manifest()
        assert manifest is not None
        assert manifest.answer.status == "completed", manifest.answer.error
        if compare:
            run.steps = max(steps(folder / "stock" / f"{track}.wav", job.path(track)) for track in Track)
    return run


def common_settings(folder: Path, threads: int) -> dict[str, str]:
    """Of all processes, so that Python is compiled once and kept in `folder`, as it is in the images."""
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    return {"STEMJOB_THREADS": str(threads), **kept}


def has_fast() -> bool:
    """Whether `fast` is anything else than the default on this CPU."""
    if feasible(Precision.FAST, "cpu") is Precision.FAST:
        return True
    print("fast is left out: this CPU is not known to compute in 16 bits, so it is the default there")
    return False


def steps(one: Path, other: Path) -> int:
    """The greatest difference of two 16-bit files."""
    a, b = (soundfile.read(path, dtype="int16")[0].astype(np.int32) for path in (one, other))
    assert a.shape == b.shape
    return int(np.abs(a - b).max())


def compare(seconds: float, rounds: int, threads: int) -> None:
    """Speed and error against the baseline."""
    variants = {name: settings for name, settings in VARIANTS.items() if name != "fast" or has_fast()}
    runs: dict[str, list[Run]] = {name: [] for name in ("stock", *variants)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        weights = save_full_size(folder / "full.safetensors")
        common = common_settings(folder, threads)

        def one_round(song: Path) -> Iterator[tuple[str, Run]]:
            yield "stock", run_stock(folder, song, weights, common)
            for name, settings in variants.items():
                yield name, run_ours(folder, song, weights, {**common, **settings}, compare=True)

        list(one_round(write_music(folder / "short.wav", 1.0)))  # compiles all that is imported
        song = write_music(folder / "song.wav", seconds)
        for _ in range(rounds):
            for name, run in one_round(song):
                runs[name].append(run)
                print(name, run, flush=True)
    print(f"{seconds:.0f} s of music, {rounds} rounds, {threads} threads; {machine()}")
    print(f"{'':<10}{'wall s':>9}{'ratio':>7}{'CPU s':>9}{'ratio':>7}{'MiB':>7}{'16-bit steps':>14}")
    for name, each in runs.items():
        wall, cpu = (ratio(runs["stock"], each, what) for what in ("wall", "cpu"))
        print(
            f"{name:<10}{statistics.median(run.wall for run in each):>9.1f}{wall:>7.2f}"
            f"{statistics.median(run.cpu for run in each):>9.1f}{cpu:>7.2f}"
            f"{max(run.rss for run in each):>7.0f}{max(run.steps for run in each):>14}"
        )
    result = {name: [asdict(run) for run in each] for name, each in runs.items()}
    save("song", {"seconds": seconds, "threads": threads, "runs": result})


def ratio(baseline: list[Run], runs: list[Run], what: str) -> float:
    """How many times less: the median over the rounds, each against the baseline of its round."""
    pairs = zip(baseline, runs, strict=True)
    ratios = [float(getattr(base, what) / getattr(run, what)) for base, run in pairs]
    return statistics.median(ratios)


def memory(minutes: tuple[float, ...]) -> None:
    """Peak memory against length, with a network of almost no size, whose time is short."""
    print(f"{'minutes':>10}{'MiB':>7}   a network of almost no size")
    peaks = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        weights = save_cheapest(folder / "cheapest.safetensors")
        for length in minutes:
            song = write_music(folder / "song.wav", 60 * length)
            run = run_ours(folder, song, weights, common_settings(folder, 2), compare=False)
            peaks[str(length)] = run.rss
            print(f"{length:>10.0f}{run.rss:>7.0f}", flush=True)
    save("memory", {"peak_mib": peaks})


def main(arguments: list[str] | None = None) -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.song", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="length of the song; 20 is a quick look")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--minutes", type=float, nargs="*", default=[3, 60], help="songs whose memory is seen"
    )
    chosen = parser.parse_args(arguments)
    if chosen.rounds:
        compare(chosen.seconds, chosen.rounds, chosen.threads)
    if chosen.minutes:
        memory(tuple(chosen.minutes))


if __name__ == "__main__":
    main()
