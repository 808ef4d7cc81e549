"""Synthesized singing: a glottal source through moving formants, with consonants, vibrato and breathing.

The source-filter model of the voice is that of G. Fant, "Acoustic Theory of Speech Production" (1960);
the formant frequencies are rounded from Peterson and Barney, J. Acoust. Soc. Am. 24 (1952).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal as dsp

from training.composition import Note, Song, near
from training.signals import Signal, add_at, bandpass, lowpass, pan, saw

# First three formants of vowels in Hz, for a low voice.
_VOWELS = np.array(
    [
        [730.0, 1090.0, 2440.0],  # a
        [530.0, 1840.0, 2480.0],  # e
        [270.0, 2290.0, 3010.0],  # i
        [570.0, 840.0, 2410.0],  # o
        [300.0, 870.0, 2240.0],  # u
        [660.0, 1720.0, 2410.0],  # ae
        [490.0, 1350.0, 1690.0],  # er
    ]
)
_BANDWIDTHS = np.array([80.0, 100.0, 140.0, 220.0])
_STRENGTHS = np.array([1.0, 0.55, 0.32, 0.22])

# Noise of consonants: lower and upper edge in Hz, length in seconds, level.
_CONSONANTS = (
    (4500.0, 11000.0, 0.11, 0.55),  # s
    (2200.0, 7000.0, 0.11, 0.5),  # sh
    (1200.0, 9000.0, 0.09, 0.2),  # f
    (3000.0, 8000.0, 0.03, 0.6),  # t
    (1200.0, 3500.0, 0.035, 0.6),  # k
    (300.0, 1800.0, 0.02, 0.6),  # p
    (700.0, 5000.0, 0.08, 0.2),  # h
)

_FRAME = 1024
_HOP = 256


@dataclass(frozen=True)
class Singer:
    """What stays the same about a voice during a song."""

    centre: float
    """Middle of the range, MIDI pitch."""
    tract: float
    """Factor on the formant frequencies (1 for a long vocal tract, about 1.2 for a short one)."""
    vibrato_hz: float
    vibrato_semitones: float
    breath: float
    """Level of the aspiration noise relative to the voice."""
    tilt_hz: float
    """Edge of the low-pass of the glottal source: low is soft, high is pressed."""


def draw_singer(rng: np.random.Generator) -> Singer:
    """Draws a singer: low or high voice, soft or pressed."""
    high = bool(rng.random() < 0.5)
    return Singer(
        centre=float(rng.uniform(60.0, 68.0) if high else rng.uniform(50.0, 58.0)),
        tract=float(rng.uniform(1.1, 1.25) if high else rng.uniform(0.95, 1.08)),
        vibrato_hz=float(rng.uniform(4.5, 6.5)),
        vibrato_semitones=float(rng.uniform(0.1, 0.6)),
        breath=float(rng.uniform(0.01, 0.08)),
        tilt_hz=float(rng.uniform(350.0, 1500.0)),
    )


def phrases(rng: np.random.Generator, song: Song, centre: float) -> list[list[Note]]:
    """Sung phrases of one or two bars over the scale of the song, each ended by a pause to breathe."""
    out: list[list[Note]] = []
    degree = int(rng.integers(0, 5))
    pace = [1, 2, 2, 2, 3, 4] if song.tempo < 110 else [2, 2, 2, 4, 4, 6]
    bars = song.playing("vocals")
    span = int(rng.choice([1, 2]))
    for first in bars[::span]:
        if out and rng.random() < 0.1:
            continue
        step = int(rng.choice([0, 0, 1, 2]))
        end = span * song.steps - int(rng.integers(2, 6))
        notes: list[Note] = []
        while step < end:
            length = min(int(rng.choice(pace)), end - step)
            if end - step - length <= 1:
                length = end - step
            degree = int(np.clip(degree + rng.integers(-2, 3), -4, 8))
            pitch = near(song.degree(degree), centre)
            start = song.time(first, step)
            duration = min(length * song.step_seconds, song.seconds - start)
            if duration > 0.05:
                notes.append(Note(start, duration, pitch, float(rng.uniform(0.75, 1.0))))
            step += length
        if notes:
            out.append(notes)
    return out


def _pitch_curve(rng: np.random.Generator, singer: Singer, notes: list[Note], n: int, rate: int) -> Signal:
    """Frequency in Hz per sample: gliding between notes, delayed vibrato, slow random drift."""
    origin = notes[0].start
    pitch = np.full(n, notes[0].pitch)
    vibrato = np.zeros(n)
    for note in notes:
        first = int((note.start - origin) * rate)
        last = min(n, int((note.start - origin + note.duration) * rate))
        pitch[first:] = note.pitch
        t = np.arange(max(last - first, 0)) / rate
        vibrato[first:last] = np.clip((t - 0.2) / 0.25, 0.0, 1.0)
    pitch = pitch[0] + lowpass(pitch - pitch[0], float(rng.uniform(5.0, 12.0)), rate, order=1)
    wave = np.sin(2.0 * np.pi * singer.vibrato_hz * np.arange(n) / rate + rng.uniform(0.0, 6.28))
    drift = lowpass(rng.standard_normal(n), 3.0, rate, order=1) * 10.0
    semitones = pitch + singer.vibrato_semitones * vibrato * wave + np.clip(drift, -0.3, 0.3)
    return np.asarray(440.0 * 2.0 ** ((semitones - 69.0) / 12.0), dtype=np.float64)


def _gains(formants: NDArray[np.float64], frequencies: Signal) -> NDArray[np.float64]:
    """Magnitudes `[shape=(bins, frames)]` of four parallel resonances for formants `[shape=(frames, 3)]`."""
    frames = formants.shape[0]
    fourth = np.full((frames, 1), 3500.0)
    centres = np.concatenate([formants, np.maximum(fourth, formants[:, 2:] + 600.0)], axis=1)
    out = np.full((frequencies.shape[0], frames), 0.01)
    for i in range(4):
        distance = (frequencies[:, None] - centres[None, :, i]) / _BANDWIDTHS[i]
        out += _STRENGTHS[i] / np.sqrt(1.0 + distance**2)
    return out


def _filtered(source: Signal, formants: NDArray[np.float64], rate: int) -> Signal:
    """The source through formants that move with every hop of a short-time Fourier transform."""
    frequencies, times, spectrum = dsp.stft(source, rate, nperseg=_FRAME, noverlap=_FRAME - _HOP)
    at = np.minimum(np.round(times * rate).astype(int), formants.shape[0] - 1)
    shaped = spectrum * _gains(formants[at], np.asarray(frequencies, dtype=np.float64))
    _, out = dsp.istft(shaped, rate, nperseg=_FRAME, noverlap=_FRAME - _HOP)
    return np.asarray(np.resize(out, source.shape[0]), dtype=np.float64)


def _formant_path(
    rng: np.random.Generator, singer: Singer, notes: list[Note], n: int, rate: int
) -> NDArray[np.float64]:
    """Formants in Hz `[shape=(n, 3)]`: a vowel (now and then a diphthong) per note, smoothly joined."""
    origin = notes[0].start
    path = np.repeat(_VOWELS[:1], n, axis=0)
    for note in notes:
        first = int((note.start - origin) * rate)
        path[first:] = _VOWELS[int(rng.integers(len(_VOWELS)))]
        if rng.random() < 0.3:
            path[first + int(0.6 * note.duration * rate) :] = _VOWELS[int(rng.integers(len(_VOWELS)))]
    moved = path - path[0]
    smooth = path[0] + np.stack([lowpass(moved[:, i], 9.0, rate, order=1) for i in range(3)], axis=1)
    return np.asarray(smooth * singer.tract, dtype=np.float64)


def _loudness(rng: np.random.Generator, notes: list[Note], n: int, rate: int) -> tuple[Signal, list[float]]:
    """Level of the voiced part per sample, and the times (from the phrase's begin) of consonants."""
    origin = notes[0].start
    level = np.zeros(n)
    consonants = []
    for i, note in enumerate(notes):
        first = int((note.start - origin) * rate)
        last = min(n, int((note.start - origin + note.duration) * rate))
        level[first:last] = note.velocity
        if i == 0 or rng.random() < 0.65:
            consonants.append(note.start - origin)
            level[max(first - int(0.05 * rate), 0) : first + int(0.015 * rate)] = 0.0
    return np.maximum(lowpass(level, 18.0, rate, order=1), 0.0), consonants


def _sing(rng: np.random.Generator, singer: Singer, notes: list[Note], rate: int) -> Signal:
    """One phrase, mono, from the begin of its first note on."""
    end = notes[-1].start + notes[-1].duration - notes[0].start
    n = max(int((end + 0.12) * rate), 4 * _FRAME)
    frequency = _pitch_curve(rng, singer, notes, n, rate)
    level, consonants = _loudness(rng, notes, n, rate)
    # A saw falls with 6 dB per octave, the glottal flow with about 12: hence the low-pass of first order.
    glottis = lowpass(saw(frequency, rate, float(rng.random())), singer.tilt_hz, rate, order=1)
    shimmer = 1.0 + 0.1 * np.clip(5.0 * lowpass(rng.standard_normal(n), 25.0, rate, order=1), -1.0, 1.0)
    source = glottis * shimmer + singer.breath * rng.standard_normal(n)
    voiced = _filtered(source * level, _formant_path(rng, singer, notes, n, rate), rate)
    out = voiced / (float(np.max(np.abs(voiced))) + 1e-6)
    for at in consonants:
        low, high, length, loud = _CONSONANTS[int(rng.integers(len(_CONSONANTS)))]
        m = int(length * rate)
        shape = np.sin(np.pi * np.arange(m) / m) if length > 0.05 else np.exp(-np.arange(m) / (0.3 * m))
        noise = bandpass(rng.standard_normal(m), low, high, rate)
        add_at(out, max(at - length * 0.6, 0.0), 0.35 * loud * shape * noise, rate)
    return out


def _harmony(rng: np.random.Generator, song: Song, notes: list[Note]) -> list[Note]:
    """A second voice: the same rhythm a third above, or in unison."""
    shift = float(rng.choice([0.0, 3.0, 4.0, 12.0]))
    scale = {(song.root + step) % 12 for step in song.scale}
    out = []
    for note in notes:
        pitch = note.pitch + shift
        pitch += 0.0 if round(pitch) % 12 in scale else 1.0
        out.append(Note(note.start + float(rng.normal(0.0, 0.012)), note.duration, pitch, note.velocity))
    return out


def render_vocals(rng: np.random.Generator, song: Song, rate: int) -> NDArray[np.float64]:
    """Vocal stem of a song, dry, `[shape=(2, n)]`: a lead voice in the middle, at times a second voice."""
    out = np.zeros((2, round(song.seconds * rate)))
    singer = draw_singer(rng)
    place = float(rng.normal(0.0, 0.08))
    backing = float(rng.uniform(0.25, 0.6)) if rng.random() < 0.35 else 0.0
    for notes in phrases(rng, song, singer.centre):
        add_at(out, notes[0].start, pan(_sing(rng, singer, notes, rate), place), rate)
        if backing and rng.random() < 0.6:
            second = _harmony(rng, song, notes)
            for side in (-0.6, 0.6):
                voice = _sing(rng, singer, second, rate)
                add_at(out, second[0].start, pan(backing * voice, side), rate)
        breath = bandpass(rng.standard_normal(int(0.25 * rate)), 800.0, 5000.0, rate)
        breath *= np.hanning(breath.shape[0]) * rng.uniform(0.0, 0.08)
        add_at(out, notes[0].start - 0.3, pan(breath, place), rate)
    return out
