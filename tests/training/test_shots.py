"""One-shots of a soundfont: what they sound like, how songs use them, what is said where they are missing."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.testbed import packages
from tests.testbed.requirements import missing_counterpart
from training import shots
from training.composition import STEMS
from training.shots import MissingError, Shots
from training.signals import midi_to_hz
from training.synthesis import synthesize


def note(pitch: float, seconds: float = 2.0) -> np.ndarray:
    t = np.arange(round(seconds * shots.RATE)) / shots.RATE
    return np.round(32767.0 * np.sin(2.0 * np.pi * midi_to_hz(pitch) * t)).astype(np.int16)


def loudest(audio: np.ndarray, rate: int) -> float:
    """Frequency in Hz of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(audio.shape[0]), 1 << 18))
    return float(np.argmax(spectrum)) * rate / (1 << 18)


@pytest.fixture
def one_shots(tmp_path: Path) -> Shots:
    """Sines at two keys for one program of each family, and a kit of a kick and two snares."""
    first = [family[0] for family in (shots.BASSES, shots.CHORDS, shots.BROKEN, shots.MELODIES)]
    sounds = {f"0/{program}/{key}": note(key) for program in first for key in (40, 64)}
    sounds |= {f"128/0/{key}": note(key, 0.3) for key in (36, 38, 40, 48)}
    save_file(sounds, tmp_path / "shots.safetensors")
    return Shots(tmp_path / "shots.safetensors")


@pytest.mark.parametrize("rate", [44100, 22050])
@pytest.mark.parametrize("pitch", [38.0, 43.0, 66.5])
def test_a_note_sounds_at_its_pitch_whatever_keys_were_rendered(
    one_shots: Shots, pitch: float, rate: int
) -> None:
    voice = one_shots.voice(np.random.default_rng(1), shots.BASSES, rate)
    tone = voice(midi_to_hz(pitch), 1.0)
    assert tone.shape == (rate,)
    assert loudest(tone, rate) == pytest.approx(midi_to_hz(pitch), rel=0.003)


def test_a_note_fades_out_within_its_duration(one_shots: Shots) -> None:
    tone = one_shots.voice(np.random.default_rng(1), shots.BASSES, 44100)(midi_to_hz(40), 0.5)
    assert np.max(np.abs(tone[-20:])) < 0.02
    assert np.max(np.abs(tone[5000:10000])) > 0.9


def test_a_kit_brings_the_pieces_that_the_soundfont_has_whole(one_shots: Shots) -> None:
    kit = one_shots.kit(np.random.default_rng(1), 44100)
    assert {piece: len(variants) for piece, variants in kit.items()} == {"kick": 1, "snare": 2}


def test_a_song_with_one_shots_keeps_its_voice_and_gets_other_instruments(one_shots: Shots) -> None:
    seeds = range(4)
    computed = [synthesize(seed, 1.0) for seed in seeds]
    sampled = [synthesize(seed, 1.0, shots=one_shots) for seed in seeds]
    again = synthesize(seeds[-1], 1.0, shots=one_shots)

    def balance(stems: dict[str, np.ndarray], name: str) -> np.ndarray:
        """Free of the level of the whole song."""
        return np.asarray(stems[name] / np.max(np.abs(stems["vocals"])))

    for name in ("drums", "bass", "other"):
        same = [
            np.allclose(balance(a, name), balance(b, name), atol=1e-4)
            for a, b in zip(computed, sampled, strict=True)
        ]
        assert not all(same), name
    for a, b in zip(computed, sampled, strict=True):
        np.testing.assert_allclose(balance(a, "vocals"), balance(b, "vocals"), atol=1e-5)
    assert all(again[name].tobytes() == sampled[-1][name].tobytes() for name in STEMS)


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(
        MissingError, match=r"There are no one-shots at .*none\.safetensors: python -m training\.shots"
    ):
        Shots(tmp_path / "none.safetensors")


def test_without_fluidsynth_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_library(name: str, *arguments: Any) -> Any:
        if name == "fluidsynth":
            raise ImportError("Couldn't find the FluidSynth library.")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", no_library)
    monkeypatch.setattr("sys.argv", ["shots", "--out", str(tmp_path / "shots.safetensors")])
    with pytest.raises(SystemExit, match="fluidsynth is not installed: apt-get install libfluidsynth3"):
        shots.main()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def soundfont() -> Path:
    """A real one, small: Debian's TimGM6mb."""
    absent = packages.missing(packages.FOR_TRAINING)
    if absent:
        missing_counterpart(f"one-shots need packages: {packages.command(absent)}")
    return Path("/usr/share/sounds/sf2/TimGM6mb.sf2")


def level_at(audio: np.ndarray, frequency: float) -> float:
    """In dB relative to the strongest partial."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(audio.shape[0]), 1 << 18))
    nearest = round(frequency / shots.RATE * (1 << 18))
    return float(20.0 * np.log10(spectrum[nearest - 20 : nearest + 20].max() / spectrum.max()))


def test_fluidsynth_renders_each_key_at_its_pitch_and_nothing_of_the_one_before(soundfont: Path) -> None:
    organ, nobodys_bank = 16, 99
    rendered = shots.render(soundfont, [(0, organ, 82), (0, organ, 45), (nobodys_bank, 0, 60)])

    assert set(rendered) == {f"0/{organ}/82", f"0/{organ}/45"}
    high, low = (rendered[f"0/{organ}/{key}"] for key in (82, 45))
    assert np.max(np.abs(high)) == np.max(np.abs(low)) == 32767
    assert level_at(high, midi_to_hz(82)) > -20.0
    assert level_at(low, midi_to_hz(45)) > -20.0
    assert level_at(low, midi_to_hz(82)) < -50.0
