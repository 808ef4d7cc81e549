"""What a model makes of real music, where no true stems are known: `python -m training.listen SONG ...`.

For each song and stem: its level relative to the song, and its share of what all stems hold below 150 Hz;
then what the stems leave of the song. Levels in dB of energy.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch
from demucs.htdemucs import HTDemucs
from numpy.typing import NDArray

from training.evaluate import load, separate
from training.model import ARGUMENTS

LOW_HZ = 150.0


def energy_below(audio: NDArray[np.float32], hertz: float, rate: int) -> float:
    """Energy below a frequency: by Parseval's theorem that of the lower part of the spectrum; `(2, n)`."""
    spectrum = np.fft.rfft(audio.astype(np.float64), axis=1)
    below = np.fft.rfftfreq(audio.shape[1], 1.0 / rate) < hertz
    return float(np.square(np.abs(spectrum[:, below])).sum())


def decibels(part: NDArray[np.float32], whole: NDArray[np.float32]) -> float:
    """Energy of a part relative to that of the whole."""
    energies = [float(np.square(audio, dtype=np.float64).sum()) + 1e-12 for audio in (part, whole)]
    return float(10.0 * np.log10(energies[0] / energies[1]))


def describe(model: HTDemucs, song: NDArray[np.float32]) -> str:
    """One song as rows of a Markdown table."""
    rate = int(ARGUMENTS["samplerate"])
    stems = separate(model, song)
    low = {name: energy_below(stem, LOW_HZ, rate) for name, stem in stems.items()}
    rows = [
        f"| {name} | {decibels(stem, song):.1f} | {low[name] / sum(low.values()):.0%} |"
        for name, stem in stems.items()
    ]
    rest = song - np.sum(list(stems.values()), axis=0)
    return "\n".join([*rows, f"| song minus all stems | {decibels(rest, song):.1f} | |"])


def main() -> None:
    """One table for each song."""
    parser = argparse.ArgumentParser(description="Levels of a model's stems of real music.")
    parser.add_argument("songs", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, default=Path("runner/models/bundled.safetensors"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of the beginning of each song")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load(options.model)
    for path in options.songs:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if (rate, audio.shape[1]) != (ARGUMENTS["samplerate"], 2):
            raise SystemExit(f"{path}: only stereo at {ARGUMENTS['samplerate']} Hz.")
        song = np.ascontiguousarray(audio[: round(options.seconds * rate)].T)
        print(f"\n{path.name}\n\n| stem | level (dB) | share below {LOW_HZ:.0f} Hz |\n|---|---|---|")
        print(describe(model, song))


if __name__ == "__main__":
    main()
