"""Synthesized bass lines: several oscillators and playing patterns."""

import numpy as np
from numpy.typing import NDArray

from training.composition import STEPS_PER_BEAT, Note, Song, near
from training.shots import BASSES, SHARE, Shots, Voice
from training.signals import (
    Signal,
    add_at,
    adsr,
    harmonics,
    highpass,
    lowpass,
    midi_to_hz,
    pulse,
    saw,
    sweep_lowpass,
)

# 16th steps of a bar of four beats: (step, length in steps).
_RHYTHMS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 4), (4, 4), (8, 4), (12, 4)),
    tuple((step, 2) for step in range(0, 16, 2)),
    ((0, 6), (6, 2), (8, 6), (14, 2)),
    ((0, 3), (3, 3), (6, 2), (8, 3), (11, 3), (14, 2)),
    ((0, 15),),
    ((2, 2), (6, 2), (10, 2), (14, 2)),
    ((0, 2), (3, 1), (4, 2), (7, 3), (10, 2), (12, 2), (14, 1)),
    ((0, 10), (10, 4), (14, 2)),
)


def _string(rng: np.random.Generator, rate: int) -> Voice:
    """Plucked string; the pluck position sets the comb of its harmonics."""
    position = float(rng.uniform(0.08, 0.3))
    tilt = float(rng.uniform(0.9, 1.6))
    ring = float(rng.uniform(0.5, 1.8))
    noise = float(rng.uniform(0.0, 0.15))
    k = np.arange(1.0, 25.0)
    amplitudes = np.sin(np.pi * k * position) / (np.sin(np.pi * position) * k**tilt)
    decays = ring / (1.0 + 0.35 * (k - 1))

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        tone = harmonics(frequency, amplitudes, decays, n, rate)
        finger = lowpass(rng.standard_normal(n) * np.exp(-np.arange(n) / (0.006 * rate)), 2500.0, rate)
        return (tone + noise * finger) * adsr(n, rate, 0.003, 1.0, 1.0, 0.03)

    return voice


def _upright(rng: np.random.Generator, rate: int) -> Voice:
    """Plucked double bass: a round tone, a thump of the body under each note, a finger on the string."""
    position = float(rng.uniform(0.2, 0.45))
    tilt = float(rng.uniform(1.2, 2.2))
    ring = float(rng.uniform(0.25, 1.2))
    body, thump = float(rng.uniform(70.0, 130.0)), float(rng.uniform(0.1, 0.6))
    finger = float(rng.uniform(0.02, 0.2))
    slide = float(rng.uniform(0.0, 0.03))
    k = np.arange(1.0, 21.0)
    amplitudes = np.sin(np.pi * k * position) / (np.sin(np.pi * position) * k**tilt)
    decays = ring / (1.0 + 0.5 * (k - 1))

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        t = np.arange(n) / rate
        bend = frequency * (1.0 - slide * np.exp(-t / 0.04))
        phase = 2.0 * np.pi * np.cumsum(bend) / rate
        tone = np.zeros(n)
        for number, amplitude, decay in zip(k, amplitudes, decays, strict=True):
            if number * frequency < 0.45 * rate:
                tone += amplitude * np.sin(number * phase) * np.exp(-t / decay)
        tone += thump * np.sin(2.0 * np.pi * body * t) * np.exp(-t / 0.05)
        tone += finger * lowpass(rng.standard_normal(n), 1800.0, rate) * np.exp(-t / 0.012)
        return tone * adsr(n, rate, 0.004, 1.0, 1.0, 0.05)

    return voice


def _analogue(rng: np.random.Generator, rate: int) -> Voice:
    """Saw or pulse oscillator, optionally with a sub-oscillator, through a closing low-pass."""
    square = bool(rng.random() < 0.45)
    width = float(rng.uniform(0.25, 0.5))
    sub = float(rng.uniform(0.0, 0.7))
    dark, bright = float(rng.uniform(150.0, 500.0)), float(rng.uniform(600.0, 3000.0))
    closing = float(rng.uniform(0.05, 0.5))
    sustain = float(rng.uniform(0.4, 0.95))

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        curve = np.full(n, frequency)
        tone = pulse(curve, rate, width) if square else 0.6 * saw(curve, rate)
        tone = sweep_lowpass(tone, dark, bright, closing, rate)
        tone += sub * np.sin(2.0 * np.pi * frequency / rate * np.arange(n))
        return tone * adsr(n, rate, 0.004, 0.3, sustain, 0.03)

    return voice


def _sub(rng: np.random.Generator, rate: int) -> Voice:
    """Sine bass with saturation, now and then with the falling attack of an 808."""
    drive = float(rng.uniform(0.8, 3.0))
    fall = float(rng.uniform(0.0, 0.8)) if rng.random() < 0.5 else 0.0
    ring = float(rng.uniform(0.4, 2.0))

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        curve = frequency * (1.0 + fall * np.exp(-np.arange(n) / (0.02 * rate)))
        tone = np.sin(2.0 * np.pi * np.cumsum(curve) / rate)
        shaped: Signal = np.tanh(drive * tone) / np.tanh(drive)
        return shaped * adsr(n, rate, 0.005, ring, 0.15, 0.04)

    return voice


def _fm(rng: np.random.Generator, rate: int) -> Voice:
    """Frequency modulation with a decaying index (Chowning, J. Audio Eng. Soc. 21(7), 1973)."""
    ratio = float(rng.choice([1.0, 2.0, 3.0, 0.5]))
    index = float(rng.uniform(1.0, 4.0))
    closing = float(rng.uniform(0.05, 0.4))

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        t = np.arange(n) / rate
        modulation = index * np.exp(-t / closing) * np.sin(2.0 * np.pi * ratio * frequency * t)
        return np.sin(2.0 * np.pi * frequency * t + modulation) * adsr(n, rate, 0.004, 0.6, 0.5, 0.04)

    return voice


def _walk(rng: np.random.Generator, song: Song) -> list[Note]:
    """A walking line: a note on each beat: the root, notes of the chord, a neighbour of the next root."""
    centre = float(rng.uniform(34.0, 44.0))
    legato = float(rng.uniform(0.7, 1.0))
    notes = []
    for bar in song.playing("bass"):
        chord = song.chord(bar)
        root, goal = near(chord[0], centre), near(song.chord(bar + 1)[0], centre)
        for step in range(0, song.steps, STEPS_PER_BEAT):
            pitch = near(float(rng.choice(chord)), centre)
            if step == 0:
                pitch = root
            elif step + STEPS_PER_BEAT >= song.steps:
                pitch = goal + float(rng.choice([-1.0, 1.0, -2.0, 2.0]))
            start = song.time(bar, step)
            duration = min(max(STEPS_PER_BEAT * song.step_seconds * legato, 0.08), song.seconds - start)
            notes.append(Note(start, duration, pitch, float(rng.uniform(0.75, 1.0))))
    return [note for note in notes if note.duration > 0.02]


def _line(rng: np.random.Generator, song: Song) -> list[Note]:
    """The notes of the bass line: roots of the chords with fifths, octaves and passing notes."""
    rhythm = _RHYTHMS[int(rng.integers(len(_RHYTHMS)))]
    adventure = float(rng.uniform(0.0, 0.5))
    centre = float(rng.uniform(33.0, 42.0))
    legato = float(rng.uniform(0.6, 1.0))
    notes = []
    for bar in song.playing("bass"):
        chord = song.chord(bar)
        for position, (step, length) in enumerate(rhythm):
            if step >= song.steps:
                continue
            pitch = near(chord[0], centre)
            if position and rng.random() < adventure:
                fifth, third = near(chord[2], centre), near(chord[1], centre)
                pitch = float(rng.choice([pitch + 12, fifth, third, pitch - 2]))
            steps = min(length, song.steps - step)
            start = song.time(bar, step)
            duration = max(steps * song.step_seconds * legato, 0.08)
            duration = min(duration, song.seconds - start)
            notes.append(Note(start, duration, pitch, float(rng.uniform(0.8, 1.0))))
    return [note for note in notes if note.duration > 0.02]


def render_bass(rng: np.random.Generator, song: Song, rate: int, shots: Shots | None) -> NDArray[np.float64]:
    """Bass stem of a song, dry, `[shape=(2, n)]`, the same in both channels as bass mostly is."""
    mono = np.zeros(round(song.seconds * rate))
    makers = (_string, _string, _upright, _upright, _analogue, _analogue, _sub, _fm)
    voice = makers[int(rng.integers(len(makers)))](rng, rate)
    if shots and rng.random() < SHARE:
        voice = shots.voice(rng, BASSES, rate)
    rendered: dict[tuple[float, float], Signal] = {}
    line = _walk(rng, song) if rng.random() < 0.2 else _line(rng, song)
    for note in line:
        key = (note.pitch, round(note.duration, 3))
        if key not in rendered:
            rendered[key] = voice(midi_to_hz(note.pitch), note.duration)
        add_at(mono, note.start, note.velocity * rendered[key], rate)
    if rng.random() < 0.3:
        mono = np.tanh(float(rng.uniform(1.0, 3.0)) * mono)
    mono = highpass(lowpass(mono, float(rng.uniform(3000.0, 8000.0)), rate, order=1), 28.0, rate)
    return np.stack([mono, mono])
