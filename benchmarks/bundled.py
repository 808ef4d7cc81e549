"""How fast the bundled model separates: `python -m benchmarks.bundled`.

Baseline: htdemucs' architecture with random weights, on the same audio in the same run.
Target: three times as fast.
"""

import statistics
import time
from pathlib import Path

import torch
from demucs.apply import apply_model
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs

from tests.runner.tiny_models import FULL_SIZE

SECONDS = 16.0
ROUNDS = 3
BUNDLED = Path(__file__).parents[1] / "runner" / "models" / "bundled.safetensors"


def main() -> None:
    """Prints seconds of computing for one second of audio, the rounds of both taken in turns."""
    models = {"htdemucs, random weights": HTDemucs(**FULL_SIZE), "bundled": load_safetensors_model(BUNDLED)}
    audio = torch.randn(1, 2, round(SECONDS * 44100))
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            began = time.perf_counter()
            with torch.no_grad():
                apply_model(model.float().eval(), audio, shifts=0, progress=False)
            times[name].append((time.perf_counter() - began) / SECONDS)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{'':<28}{'median':>8}{'max':>8}  s per s of audio, {torch.get_num_threads()} threads")
    for name, values in times.items():
        print(f"{name:<28}{medians[name]:>8.3f}{max(values):>8.3f}")
    print(f"{medians['htdemucs, random weights'] / medians['bundled']:.1f} times faster")


if __name__ == "__main__":
    main()
