"""A song on an NVIDIA GPU: `python -m benchmarks.gpu`. Needs one; `--device cpu --tiny` shows that it works.

Times real time: separation alone (warm), a whole song in a warm process, and a cold process (a job).
Baseline: demucs' own network on one segment at a time, as demucs does it. With a profile of what the GPU did.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch._C._autograd import DeviceType

from benchmarks.report import machine, save
from benchmarks.song import RATE, run_ours, write_music
from contract.job import JobOptions
from runner import device as devices
from runner.allocator import keep_memory
from runner.pipeline import Pipeline
from runner.progress import LogReporter, ProgressReport
from runner.separation import Separator
from runner.settings import Device, Precision, RunnerSettings
from runner.waveform import BLOCK_FRAMES, Block
from runner.weights import load_model
from tests.runner.tiny_models import save_full_size, save_tiny

PROFILED = 12
"""Kernels of a profile."""


def separation(
    song: Block, weights: Path, device: str, precision: Precision, batch: int, *, plain: bool = False
) -> Callable[[], None]:
    """A function that separates the song with a network that is on the device already."""
    model = load_model(str(weights)).model

    def run() -> None:
        separator = Separator(model, device, 0.0, 0.1, precision=precision, batch=batch, plain=plain)
        for at in range(0, song.shape[1], BLOCK_FRAMES):
            separator.push(song[:, at : at + BLOCK_FRAMES])
        separator.flush()

    return run


def warm_song(song: Path, weights: Path, settings: RunnerSettings) -> Callable[[], None]:
    """A function that takes a file through the whole pipeline."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            report = ProgressReport(LogReporter())
            Pipeline(settings, report, Path(folder)).run(song, JobOptions(model=str(weights)))

    return run


def best(work: Callable[[], None], rounds: int = 3) -> float:
    """Seconds of the fastest of some rounds, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def profile(work: Callable[[], None]) -> str:
    """What took most of the device's time, and how much of the wall's it was busy."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    began = time.perf_counter()
    with torch.profiler.profile(activities=kinds) as profiler:
        work()
    wall = time.perf_counter() - began
    on = DeviceType.CUDA if torch.cuda.is_available() else DeviceType.CPU
    events = [event for event in profiler.key_averages() if event.device_type == on]
    spent: dict[str, float] = {
        event.key: event.self_device_time_total or event.self_cpu_time_total for event in events
    }
    ranked = sorted(spent, key=lambda key: -spent[key])[:PROFILED]
    rows = [f"{spent[key] / 1e3:9.1f} ms  {key[:100]}" for key in ranked]
    return "\n".join([f"{sum(spent.values()) / 1e6:.2f} s of {wall:.2f} s:", *rows])


def main(arguments: list[str] | None = None) -> None:
    """One table and one profile."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--tiny", action="store_true", help="a network of almost no size")
    chosen = parser.parse_args(arguments)
    keep_memory()  # as a runner does
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no NVIDIA GPU here.")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = write_music(folder / "song.wav", chosen.seconds)
        song = np.ascontiguousarray(soundfile.read(file, dtype="float32")[0].T)
        weights = (save_tiny if chosen.tiny else save_full_size)(folder / "model.safetensors")
        settings = RunnerSettings(device=Device(chosen.device), models=(str(weights),))
        device = devices.prepare(settings)
        batch = devices.batches(device)[0]
        work = {
            "separation, as demucs does it": separation(
                song, weights, device, Precision.FLOAT32, 1, plain=True
            ),
            "separation, one at a time": separation(song, weights, device, Precision.FLOAT32, 1),
            f"separation, {batch} at once": separation(song, weights, device, Precision.FLOAT32, batch),
            f"separation, {batch} at once, fast": separation(song, weights, device, Precision.FAST, batch),
            "whole song, warm": warm_song(file, weights, settings),
        }
        seconds = {name: best(each) for name, each in work.items()}
        threads = str(os.cpu_count() or 1)
        job = {"STEMJOB_DEVICE": chosen.device, "STEMJOB_THREADS": threads}
        seconds["whole job, cold"] = run_ours(folder, file, weights, job, compare=False).wall
        for name in (f"separation, {batch} at once", "whole song, warm"):
            print(f"{name}, the device: {profile(work[name])}")
    print(f"{chosen.seconds:.0f} s of music at {RATE} Hz on {devices.describe(device)}; {machine()}")
    for name, taken in seconds.items():
        print(f"{name:<36}{taken:>9.2f} s{chosen.seconds / taken:>9.0f} x real time")
    save("gpu", {"seconds": chosen.seconds, "device": devices.describe(device), "taken": seconds})


if __name__ == "__main__":
    main()
