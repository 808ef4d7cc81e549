"""Synthesized accompaniment: pads, organs, electric pianos, plucked strings, leads, bells, guitars."""

import numpy as np
from numpy.typing import NDArray

from training.composition import Note, Song, near
from training.shots import BROKEN, CHORDS, MELODIES, SHARE, Shots, Voice
from training.signals import (
    Signal,
    add_at,
    adsr,
    harmonics,
    lowpass,
    midi_to_hz,
    pan,
    pulse,
    saw,
    sweep_lowpass,
)

_COMPING: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 4), (4, 4), (8, 4), (12, 4)),
    ((0, 6), (6, 6), (12, 4)),
    ((2, 2), (6, 2), (10, 2), (14, 2)),
    tuple((step, 2) for step in range(0, 16, 2)),
    ((0, 3), (3, 3), (6, 4), (10, 2), (12, 3)),
    ((0, 16),),
)


def _pad(rng: np.random.Generator, rate: int) -> Voice:
    """Two or three detuned saws with a slow attack: pads and strings."""
    detune = float(rng.uniform(2.0, 14.0)) / 1200.0
    edge = float(rng.uniform(900.0, 5000.0))
    attack = float(rng.uniform(0.03, 0.3))
    count = int(rng.integers(2, 4))

    def voice(frequency: float, duration: float) -> Signal:
        n = int((duration + 0.15) * rate)
        tone = np.zeros(n)
        for shift in np.linspace(-detune, detune, count):
            tone += saw(np.full(n, frequency * 2.0**shift), rate, float(rng.random()))
        return lowpass(tone / count, edge, rate) * adsr(n, rate, attack, 1.0, 1.0, 0.2)

    return voice


def _organ(rng: np.random.Generator, rate: int) -> Voice:
    """Additive drawbar organ with the slow amplitude beat of a rotating loudspeaker."""
    drawbars: Signal = rng.uniform(0.0, 1.0, size=8) * (rng.random(8) < 0.7)
    drawbars[0] = 1.0
    speed, depth = float(rng.uniform(0.8, 6.8)), float(rng.uniform(0.0, 0.25))
    level = 1.0 + float(drawbars.sum()) / 3.0
    endless = np.full(8, 1e3)

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        tone = harmonics(frequency, drawbars, endless, n, rate) / level
        beat = 1.0 + depth * np.sin(2.0 * np.pi * speed * np.arange(n) / rate)
        return tone * beat * adsr(n, rate, 0.006, 1.0, 1.0, 0.02)

    return voice


def _electric_piano(rng: np.random.Generator, rate: int) -> Voice:
    """Two frequency-modulated pairs: a warm body and the bright strike of the tine."""
    index, bell = float(rng.uniform(0.6, 2.2)), float(rng.uniform(0.05, 0.4))
    ring = float(rng.uniform(0.5, 1.6))

    def voice(frequency: float, duration: float) -> Signal:
        n = int((duration + 0.1) * rate)
        t = np.arange(n) / rate
        w = 2.0 * np.pi * frequency * t
        body = np.sin(w + index * np.exp(-t / (0.5 * ring)) * np.sin(w))
        tine = bell * np.exp(-t / 0.12) * np.sin(w + 1.2 * np.sin(min(14.0, 0.4 * rate / frequency) * w))
        return (body + tine) * np.exp(-t / ring) * adsr(n, rate, 0.002, 1.0, 1.0, 0.08)

    return voice


def _plucked(rng: np.random.Generator, rate: int) -> Voice:
    """Plucked or struck strings: acoustic guitar, harp, piano-like sounds."""
    position = float(rng.uniform(0.07, 0.4))
    tilt = float(rng.uniform(0.7, 1.5))
    ring = float(rng.uniform(0.3, 1.6))
    k = np.arange(1.0, 31.0)
    amplitudes = np.sin(np.pi * k * position) / (np.sin(np.pi * position) * k**tilt)
    decays = ring / (1.0 + 0.18 * (k - 1))

    def voice(frequency: float, duration: float) -> Signal:
        n = int((duration + 0.2) * rate)
        return harmonics(frequency, amplitudes, decays, n, rate) * adsr(n, rate, 0.002, 1.0, 1.0, 0.12)

    return voice


def _distorted(rng: np.random.Generator, rate: int) -> Voice:
    """Overdriven guitar: root, fifth and octave together through a saturation and a loudspeaker."""
    drive = float(rng.uniform(3.0, 12.0))
    edge = float(rng.uniform(2500.0, 5000.0))
    k = np.arange(1.0, 16.0)
    amplitudes = np.sin(np.pi * k * 0.17) / k**0.8
    decays = 2.5 / (1.0 + 0.1 * k)

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        strings = sum(
            (harmonics(0.5 * frequency * ratio, amplitudes, decays, n, rate) for ratio in (1.0, 1.4983, 2.0)),
            start=np.zeros(n),
        )
        return 0.6 * lowpass(np.tanh(drive * strings), edge, rate) * adsr(n, rate, 0.003, 1.0, 1.0, 0.03)

    return voice


def _lead(rng: np.random.Generator, rate: int) -> Voice:
    """Saw or pulse lead with vibrato and a closing filter."""
    square = bool(rng.random() < 0.5)
    depth, speed = float(rng.uniform(0.0, 0.006)), float(rng.uniform(4.0, 7.0))
    dark, bright = float(rng.uniform(800.0, 2000.0)), float(rng.uniform(2500.0, 9000.0))
    closing = float(rng.uniform(0.05, 0.6))

    def voice(frequency: float, duration: float) -> Signal:
        n = int(duration * rate)
        curve = frequency * (1.0 + depth * np.sin(2.0 * np.pi * speed * np.arange(n) / rate))
        tone = pulse(curve, rate, 0.4) if square else 0.7 * saw(curve, rate)
        return sweep_lowpass(tone, dark, bright, closing, rate) * adsr(n, rate, 0.008, 0.4, 0.7, 0.04)

    return voice


def _bell(rng: np.random.Generator, rate: int) -> Voice:
    """Inharmonic frequency modulation: bells, mallets, music boxes."""
    ratio = float(rng.choice([1.41, 2.76, 3.5, 4.0]))
    index, ring = float(rng.uniform(0.4, 2.0)), float(rng.uniform(0.2, 1.0))

    def voice(frequency: float, duration: float) -> Signal:
        n = int((duration + 0.3) * rate)
        t = np.arange(n) / rate
        modulation = index * np.exp(-t / (0.6 * ring)) * np.sin(2.0 * np.pi * ratio * frequency * t)
        return (
            np.sin(2.0 * np.pi * frequency * t + modulation)
            * np.exp(-t / ring)
            * adsr(n, rate, 0.002, 1.0, 1.0, 0.05)
        )

    return voice


def _chords(rng: np.random.Generator, song: Song) -> list[Note]:
    """Chords in a comping rhythm, strummed or struck at once."""
    rhythm = _COMPING[int(rng.integers(len(_COMPING)))]
    centre = float(rng.uniform(57.0, 69.0))
    strum = float(rng.uniform(0.005, 0.03)) if rng.random() < 0.4 else 0.0
    notes = []
    for bar in song.playing("other"):
        pitches = sorted(near(pitch, centre) for pitch in song.chord(bar))
        for step, length in rhythm:
            if step < song.steps:
                duration = min(length, song.steps - step) * song.step_seconds * 0.95
                start = song.time(bar, step)
                notes += [Note(start + strum * i, duration, p, 0.75) for i, p in enumerate(pitches)]
    return notes


def _arpeggio(rng: np.random.Generator, song: Song) -> list[Note]:
    """Broken chords over one or two octaves."""
    every = int(rng.choice([1, 2, 2]))
    centre = float(rng.uniform(62.0, 76.0))
    wander = float(rng.uniform(0.0, 0.5))
    notes = []
    for bar in song.playing("other"):
        pitches = sorted(near(pitch, centre) for pitch in song.chord(bar))
        pitches += [pitches[0] + 12]
        for i, step in enumerate(range(0, song.steps, every)):
            which = int(rng.integers(len(pitches))) if rng.random() < wander else i % len(pitches)
            notes.append(Note(song.time(bar, step), every * song.step_seconds, pitches[which], 0.8))
    return notes


def _melody(rng: np.random.Generator, song: Song) -> list[Note]:
    """A lead line that walks over the scale, with pauses."""
    centre = float(rng.uniform(69.0, 82.0))
    degree = 0
    notes = []
    for bar in song.playing("other"):
        step = 0
        while step < song.steps:
            length = int(rng.choice([1, 2, 2, 3, 4, 6]))
            degree += int(rng.integers(-2, 3))
            if rng.random() < 0.75:
                duration = min(length, song.steps - step) * song.step_seconds * 0.95
                notes.append(Note(song.time(bar, step), duration, near(song.degree(degree), centre), 0.9))
            step += length
    return notes


def _layer(rng: np.random.Generator, song: Song, rate: int, which: int, shots: Shots | None) -> Signal:
    """One instrument, mono: which 0 plays chords, 1 broken chords, 2 a melody."""
    score = (_chords, _arpeggio, _melody)[which]
    makers = (
        (_pad, _organ, _electric_piano, _plucked, _distorted),
        (_plucked, _bell, _electric_piano, _lead),
        (_lead, _bell, _plucked, _distorted, _organ),
    )[which]
    voice = makers[int(rng.integers(len(makers)))](rng, rate)
    if shots and rng.random() < SHARE:
        voice = shots.voice(rng, (CHORDS, BROKEN, MELODIES)[which], rate)
    out = np.zeros(round(song.seconds * rate))
    rendered: dict[tuple[float, float], Signal] = {}
    for note in score(rng, song):
        key = (note.pitch, round(note.duration, 3))
        if key not in rendered:
            rendered[key] = voice(midi_to_hz(note.pitch), note.duration)
        add_at(out, note.start, note.velocity * rendered[key], rate)
    return out / (float(np.sqrt(np.mean(out**2))) + 1e-6)


def render_other(rng: np.random.Generator, song: Song, rate: int, shots: Shots | None) -> NDArray[np.float64]:
    """Accompaniment stem of a song, dry, `[shape=(2, n)]`: chords and up to two further layers."""
    out = np.zeros((2, round(song.seconds * rate)))
    layers = [0] + [which for which in (1, 2) if rng.random() < 0.4]
    for which in layers:
        gain = 1.0 if which == 0 else float(rng.uniform(0.4, 0.9))
        layer = gain * _layer(rng, song, rate, which, shots)
        if rng.random() < 0.5:
            # A short delay of one channel widens the image (Haas effect).
            late = int(rng.uniform(0.002, 0.015) * rate)
            wide = np.concatenate([np.zeros(late), layer])[: layer.shape[-1]]
            out += np.stack([layer, wide])[:: int(rng.choice([-1, 1]))]
        else:
            out += pan(layer, float(rng.uniform(-0.7, 0.7))) * 1.4
    return out
