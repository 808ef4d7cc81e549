"""Measures a model on synthesized songs it has never seen: SI-SDR per stem, absolute and over the mixture.

Usage:
    python -m training.evaluate [--model runner/models/bundled.safetensors] [--songs 12] [--seconds 20]
        [--shots training/runs/shots-held-out.safetensors]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from demucs.apply import apply_model
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from numpy.typing import NDArray

from training.composition import STEMS
from training.model import Checkpoint, build_model
from training.pool import HELD_OUT
from training.shots import MissingError, Shots
from training.synthesis import mix, synthesize

_SILENT = 1e-4


def si_sdr(estimate: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Scale-invariant signal-to-distortion ratio in dB.

    10 log10(|a s|^2 / |a s - e|^2) with a = <e, s> / |s|^2 for the estimate e and the true signal s:
    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey, "SDR - half-baked or well done?", ICASSP 2019,
    equations (2) and (3). All channels are taken together as one vector.

    Args:
        estimate: any shape.
        truth: the same shape, not silent.

    Raises:
        ValueError: the shapes differ or the true signal is silent.
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"shapes differ: {estimate.shape} and {truth.shape}")
    e, s = estimate.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    power = float(s @ s)
    if power == 0.0:
        raise ValueError("SI-SDR is not defined for a silent true signal")
    target = (float(e @ s) / power) * s
    distortion = target - e
    # The small constants keep a perfect or a silent estimate finite.
    return float(10.0 * np.log10((target @ target + 1e-12) / (distortion @ distortion + 1e-12)))


def separate(model: HTDemucs, mixture: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Separates a mixture `[shape=(2, n)]` at 44100 Hz with demucs' normalisation, without random shifts."""
    audio = torch.from_numpy(mixture)
    mono = audio.mean(dim=0)
    mean, scale = mono.mean(), mono.std() + 1e-8
    with torch.no_grad():
        out = apply_model(model, ((audio - mean) / scale)[None], shifts=0, progress=False)[0] * scale + mean
    return {name: out[i].numpy() for i, name in enumerate(STEMS)}


def evaluate(
    model: HTDemucs, seeds: list[int], seconds: float, shots: Shots | None
) -> dict[str, tuple[float, float, float]]:
    """Per stem the means over songs of: SI-SDR of the mixture, SI-SDR of the estimate, improvement (dB).

    Songs in which a stem is silent do not count for it.
    """
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in STEMS}
    for seed in seeds:
        truth = synthesize(seed, seconds, shots=shots)
        mixture = mix(truth)
        estimates = separate(model, mixture)
        for name in STEMS:
            if float(np.sqrt(np.mean(truth[name] ** 2))) > _SILENT:
                rows[name].append((si_sdr(mixture, truth[name]), si_sdr(estimates[name], truth[name])))
    out = {}
    for name, pairs in rows.items():
        before, after = np.mean(pairs, axis=0)
        out[name] = (float(before), float(after), float(after - before))
    return out


def table(results: dict[str, tuple[float, float, float]]) -> str:
    """The results as a Markdown table."""
    lines = ["| stem | mixture (dB) | estimate (dB) | improvement (dB) |", "|---|---|---|---|"]
    lines += [f"| {name} | {a:.1f} | {b:.1f} | {c:+.1f} |" for name, (a, b, c) in results.items()]
    return "\n".join(lines)


def load(path: Path) -> HTDemucs:
    """A model in evaluation mode, from an exported `.safetensors` file or a checkpoint (its average).

    Raises:
        TypeError: the file holds another class of model.
    """
    if path.suffix == ".safetensors":
        model = load_safetensors_model(path)
        if not isinstance(model, HTDemucs):
            raise TypeError(f"{path} holds a {type(model).__name__}, not an HTDemucs")
    else:
        model = build_model()
        model.load_state_dict(Checkpoint.load(path).average)
    # fp16 is for storage only.
    return model.float().eval()


def main() -> None:
    """Prints the table of a model."""
    parser = argparse.ArgumentParser(description="SI-SDR of a model on held-out synthesized songs.")
    parser.add_argument("--model", type=Path, default=Path("runner/models/bundled.safetensors"))
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shots", type=Path, help="one-shots for half of the parts; none unless told")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        shots = Shots(options.shots) if options.shots else None
    except MissingError as error:
        raise SystemExit(str(error)) from error
    seeds = list(range(HELD_OUT, HELD_OUT + options.songs))
    print(table(evaluate(load(options.model), seeds, options.seconds, shots)))


if __name__ == "__main__":
    main()
