"""One-shots: single notes and drum hits of a soundfont, rendered once through fluidsynth into one file.

Usage:
    python -m training.shots [--soundfont /usr/share/sounds/sf2/FluidR3_GM.sf2]
        [--out training/runs/shots.safetensors]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from training.signals import Signal, adsr, midi_to_hz

Voice = Callable[[float, float], Signal]
"""Renders one note from its frequency in Hz and its duration in seconds."""

SHARE = 0.5
"""Part of the drum kits, basses and layers that are played by one-shots where there are any."""

RATE = 44100
_NOTE_SECONDS = 3.5
_HIT_SECONDS = 2.0

# Programs of General MIDI, counted from 0. Choirs are left out: they are neither vocals nor other.
BASSES = tuple(range(32, 40))
CHORDS = (0, 1, 2, 4, 5, 6, 7, 16, 17, 18, 19, 21, *range(24, 31), *range(48, 52), 61, 62, 63, *range(88, 96))
BROKEN = (0, 4, *range(8, 16), *range(24, 29), 45, 46, 80, 81, *range(104, 109), 114)
MELODIES = (11, 12, 22, 26, 29, 30, 40, 41, 42, 56, 57, 59, *range(64, 76), *range(78, 83), 84, 105, 110)
KITS = (0, 8, 16, 24, 25, 32, 40)

_BASS_PITCHES = range(28, 61, 4)
_PITCHES = range(46, 92, 5)
_DRUM_BANK = 128
# Keys of the drum map of General MIDI; several keys of a piece alternate.
_PIECES = {
    "kick": (36,),
    "snare": (38, 40),
    "clap": (39,),
    "rim": (37,),
    "hat": (42, 44),
    "open": (46,),
    "ride": (51,),
    "crash": (49,),
    "tom": (48, 45, 41),
}


class MissingError(Exception):
    """The one-shots, a soundfont or fluidsynth are not there. The message says how to get them."""


def _synthesizer(soundfont: Path) -> Any:
    """Fluidsynth without its reverberation and chorus, and the number that it gave the soundfont."""
    packages = "apt-get install libfluidsynth3 fluid-soundfont-gm timgm6mb-soundfont"
    try:
        # It looks for the C library when it is imported.
        import fluidsynth
    except ImportError as error:
        raise MissingError(f"fluidsynth is not installed: {packages}") from error
    if not soundfont.is_file():
        raise MissingError(f"There is no soundfont at {soundfont}: {packages}")
    synthesizer = fluidsynth.Synth(samplerate=float(RATE), gain=1.0)
    synthesizer.setting("synth.reverb.active", 0)
    synthesizer.setting("synth.chorus.active", 0)
    return synthesizer, synthesizer.sfload(str(soundfont))


def _normal(raw: NDArray[np.int16]) -> NDArray[np.int16]:
    """Mono, with its peak at full scale, without the silence after it."""
    mono = raw.reshape(-1, 2).astype(np.float64).mean(axis=1)
    peak = float(np.max(np.abs(mono)))
    sounding = np.flatnonzero(np.abs(mono) > 1e-3 * peak)
    last = int(sounding[-1]) + 1 if peak > 1.0 else 0
    return np.asarray(np.round(mono[:last] * (32767.0 / max(peak, 1.0))), dtype=np.int16)


def wanted() -> list[tuple[int, int, int]]:
    """Bank, program and key of all one-shots that the recipe uses."""
    notes = [(0, program, key) for program in BASSES for key in _BASS_PITCHES]
    programs = sorted({*CHORDS, *BROKEN, *MELODIES})
    notes += [(0, program, key) for program in programs for key in _PITCHES]
    keys = [key for piece in _PIECES.values() for key in piece]
    return notes + [(_DRUM_BANK, kit, key) for kit in KITS for key in keys]


def render(soundfont: Path, which: list[tuple[int, int, int]]) -> dict[str, NDArray[np.int16]]:
    """One-shots of a soundfont at 44100 Hz, mono: "bank/program/key" -> `[shape=(n,)]`.

    Args:
        soundfont: a file that fluidsynth reads (.sf2, .sf3).
        which: bank, program and key of each; those that the soundfont does not have are left out.

    Raises:
        MissingError: there is no fluidsynth or no such soundfont.
    """
    synthesizer, number = _synthesizer(soundfont)
    shots = {}
    for bank, program, key in which:
        if not synthesizer.sfpreset_name(number, bank, program):
            continue
        synthesizer.program_select(0, number, bank, program)
        synthesizer.noteon(0, key, 100)
        seconds = _HIT_SECONDS if bank == _DRUM_BANK else _NOTE_SECONDS
        shot = _normal(synthesizer.get_samples(round(seconds * RATE)))
        synthesizer.all_sounds_off(0)
        if shot.size:
            shots[f"{bank}/{program}/{key}"] = shot
    synthesizer.delete()
    return shots


def _stretched(shot: NDArray[np.int16], ratio: float) -> Signal:
    """The shot played `ratio` times as fast, full scale as 1."""
    at = np.arange(0.0, shot.shape[0] - 1.0, ratio)
    return np.interp(at, np.arange(shot.shape[0]), shot / 32768.0)


class Shots:
    """The one-shots in a file that `python -m training.shots` wrote, read where they are asked for.

    Raises:
        MissingError: the file is not there.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingError(f"There are no one-shots at {path}: python -m training.shots --out {path}")
        self._file = safe_open(path, framework="numpy")
        self._keys: dict[tuple[int, int], list[int]] = {}
        for name in self._file.keys():  # noqa: SIM118 (it is no dict)
            bank, program, key = (int(part) for part in name.split("/"))
            self._keys.setdefault((bank, program), []).append(key)

    def _get(self, bank: int, program: int, key: int) -> NDArray[np.int16]:
        return np.asarray(self._file.get_tensor(f"{bank}/{program}/{key}"), dtype=np.int16)

    def _draw(self, rng: np.random.Generator, bank: int, programs: tuple[int, ...]) -> int:
        there = [program for program in programs if (bank, program) in self._keys]
        return there[int(rng.integers(len(there)))]

    def voice(self, rng: np.random.Generator, programs: tuple[int, ...], rate: int) -> Voice:
        """One of the programs, its notes stretched from the nearest key that was rendered."""
        program = self._draw(rng, 0, programs)
        release = float(rng.uniform(0.03, 0.12))

        def voice(frequency: float, duration: float) -> Signal:
            key = min(self._keys[0, program], key=lambda key: abs(np.log(frequency / midi_to_hz(key))))
            tone = _stretched(self._get(0, program, key), frequency / midi_to_hz(key) * RATE / rate)[
                : round(duration * rate)
            ]
            return tone * adsr(tone.shape[0], rate, 0.0, 1.0, 1.0, release)

        return voice

    def kit(self, rng: np.random.Generator, rate: int) -> dict[str, list[Signal]]:
        """The pieces of a drum kit by the names of `training.drums`, up to two semitones off their tuning."""
        program = self._draw(rng, _DRUM_BANK, KITS)
        ratio = 2.0 ** (float(rng.uniform(-2.0, 2.0)) / 12.0) * RATE / rate
        there = set(self._keys[_DRUM_BANK, program])
        return {
            piece: [_stretched(self._get(_DRUM_BANK, program, key), ratio) for key in keys]
            for piece, keys in _PIECES.items()
            if there.issuperset(keys)
        }


def main() -> None:
    """Writes the one-shots of a soundfont."""
    parser = argparse.ArgumentParser(description="Render the one-shots of a soundfont.")
    parser.add_argument("--soundfont", type=Path, default=Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/shots.safetensors"))
    options = parser.parse_args()
    try:
        shots = render(options.soundfont, wanted())
    except MissingError as error:
        raise SystemExit(str(error)) from error
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_suffix(".partial")
    save_file(shots, partial)
    partial.replace(options.out)
    print(f"{options.out}: {len(shots)} one-shots, {options.out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
