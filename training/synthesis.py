"""Synthesizes multitrack music: songs whose stems drums, bass, other and vocals are known exactly.

Everything is computed from a seed; one-shots of a soundfont can stand in for computed instruments.

Usage:
    python -m training.synthesis --seed 1 --seconds 20 --out song.wav [--stems FOLDER]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.bass import render_bass
from training.composition import STEMS, Song, compose
from training.drums import render_drums
from training.instruments import render_other
from training.shots import Shots
from training.signals import compress, room
from training.voice import render_vocals

_PLAY: dict[str, Callable[[np.random.Generator, Song, int, Shots | None], NDArray[np.float64]]] = {
    "drums": render_drums,
    "bass": render_bass,
    "other": render_other,
}

# Level of each stem relative to the others in dB, and how far a song departs from it (+-).
_LEVELS = {"drums": (0.0, 3.0), "bass": (-0.5, 3.0), "other": (-2.5, 3.0), "vocals": (0.5, 3.0)}

# Reverberation time in seconds (from, to) and level (from, to).
_ROOMS = {
    "drums": ((0.15, 0.7), (0.0, 0.25)),
    "bass": ((0.15, 0.7), (0.0, 0.15)),
    "other": ((0.3, 1.4), (0.05, 0.4)),
    "vocals": ((0.3, 1.6), (0.08, 0.4)),
}


def _stem(seed: int, position: int, song: Song, rate: int, shots: Shots | None) -> NDArray[np.float64]:
    """One finished stem `[shape=(2, n)]`, its sounding part at a level drawn around that of `_LEVELS`."""
    name = STEMS[position]
    rng = np.random.default_rng([seed, position + 1])
    dry = _PLAY[name](rng, song, rate, shots) if name in _PLAY else render_vocals(rng, song, rate)
    decay, wet = _ROOMS[name]
    audio = room(dry, rng, rate, float(rng.uniform(*decay)), float(rng.uniform(*wet)))
    audio = compress(audio, rate, float(rng.uniform(0.0, 0.6)))
    power = np.mean(audio**2, axis=0)
    # Pauses must not make the rest of a stem louder: the level is that of the samples above -40 dB.
    sounding = power > 1e-4 * float(np.max(power, initial=0.0))
    rms = float(np.sqrt(np.mean(power[sounding]))) if np.any(sounding) else 1.0
    centre, spread = _LEVELS[name]
    gain = 10.0 ** ((centre + rng.uniform(-spread, spread)) / 20.0)
    return np.asarray(audio * (gain / (rms + 1e-9)), dtype=np.float64)


def synthesize(
    seed: int, seconds: float, sample_rate: int = 44100, shots: Shots | None = None
) -> dict[str, NDArray[np.float32]]:
    """Synthesizes one song as separate stems; the same arguments always give the same samples.

    Args:
        seed: names the song, 0 or more.
        seconds: length, more than 0; the first four bars contain all stems.
        sample_rate: in Hz, 8000 to 192000.
        shots: sampled instruments that play about half of the parts; None computes all of them.

    Returns:
        The stems drums, bass, other and vocals in this order, each `[shape=(2, n)]` with
        n = round(seconds * sample_rate). Their sum is the mixture, with its peak between 0.5 and 0.95.

    Raises:
        ValueError: an argument is out of its range.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if not 8000 <= sample_rate <= 192000:
        raise ValueError(f"sample_rate must be 8000 to 192000 Hz, not {sample_rate}")
    if not seconds > 0 or round(seconds * sample_rate) < 1:
        raise ValueError(f"seconds must be more than 0, not {seconds}")
    rng = np.random.default_rng([seed, 0])
    song = compose(rng, seconds)
    stems = {name: _stem(seed, position, song, sample_rate, shots) for position, name in enumerate(STEMS)}
    mixture = np.sum(list(stems.values()), axis=0)
    scale = rng.uniform(0.5, 0.95) / (float(np.max(np.abs(mixture))) + 1e-9)
    return {name: (audio * scale).astype(np.float32) for name, audio in stems.items()}


def mix(stems: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mixture of a song `[shape=(2, n)]`: the sum of its stems."""
    return np.asarray(np.sum(list(stems.values()), axis=0), dtype=np.float32)


def main() -> None:
    """Writes one song as a WAV file, and its stems beside it where a folder is named."""
    # Only the command line needs a library for audio files.
    import soundfile

    parser = argparse.ArgumentParser(description="Synthesize a song with known stems.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, required=True, help="WAV file for the mixture")
    parser.add_argument("--stems", type=Path, help="folder for drums.wav, bass.wav, other.wav, vocals.wav")
    options = parser.parse_args()
    stems = synthesize(options.seed, options.seconds)
    soundfile.write(options.out, mix(stems).T, 44100, subtype="PCM_16")
    if options.stems is not None:
        options.stems.mkdir(parents=True, exist_ok=True)
        for name, audio in stems.items():
            soundfile.write(options.stems / f"{name}.wav", audio.T, 44100, subtype="PCM_16")


if __name__ == "__main__":
    main()
