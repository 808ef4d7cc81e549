"""Synthesized drum kits and the patterns they play."""

import numpy as np
from numpy.typing import NDArray

from training.composition import Song
from training.shots import SHARE, Shots
from training.signals import Signal, add_at, bandpass, highpass, lowpass, pan, phase_of

# One character per 16th step of a bar of four beats: "x" accent, "o" soft, "." rest.
_GROOVES: tuple[dict[str, str], ...] = (
    {"kick": "x.......x.......", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
    {"kick": "x.....x.x.....o.", "snare": "....x.......x..o", "hat": "xoxoxoxoxoxoxoxo"},
    {
        "kick": "x...x...x...x...",
        "clap": "....x.......x...",
        "open": "..x...x...x...x.",
        "hat": "o.o.o.o.o.o.o.o.",
    },
    {"kick": "x......x..x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.xo"},
    {"kick": "x.........x.....", "snare": "....x..o.o..x...", "hat": "x.x.x.x.x.x.x.x."},
    {"kick": "x.....x.........", "snare": "........x.......", "hat": "x.o.x.o.x.o.xoxo"},
    {"kick": "x..x..x.x..x..x.", "rim": "x..x..x...x.x...", "hat": "xoxoxoxoxoxoxoxo"},
    {"kick": "x.......x.o.....", "snare": "....x.......x...", "ride": "x...x.o.x...x.o."},
    {"kick": "x..x....x..x....", "clap": "....x.......x...", "hat": "x.xxx.x.x.xxx.x."},
    {
        "kick": "x.x...x...x.x...",
        "tom": "...x..x....x..xx",
        "snare": "....x.......x...",
        "ride": "x.x.x.x.x.x.x.x.",
    },
    # Without a kick drum but for one by chance, or with a soft one: what is low is the bass then.
    {"ride": "x...x.xox...x.xo", "hat": "....x.......x..."},
    {
        "ride": "x...x.xox...x.xo",
        "hat": "....x.......x...",
        "snare": "..o...o...oo...o",
        "kick": "o...o...o...o...",
    },
    {"snare": "o.oox.ooo.oox.oo", "hat": "....x.......x..."},
    {"hat": "x.o.x.o.x.o.x.o.", "rim": "....x.......x..o"},
)

_LEVELS = {
    "kick": 1.0,
    "snare": 0.8,
    "clap": 0.8,
    "tom": 0.8,
    "rim": 0.5,
    "crash": 0.4,
    "hat": 0.3,
    "ride": 0.3,
    "open": 0.28,
}

_PANS = {
    "kick": 0.0,
    "snare": 0.05,
    "clap": -0.1,
    "rim": 0.2,
    "hat": 0.4,
    "open": 0.4,
    "crash": -0.6,
    "ride": 0.6,
}


def _decay(n: int, rate: int, time: float) -> Signal:
    return np.exp(-np.arange(n) / (rate * time))


def _drop(rng: np.random.Generator, rate: int, high: float, low: float, fall: float, ring: float) -> Signal:
    """Sine whose pitch falls from `high` to `low` Hz: the body of kick drums and toms."""
    n = int(min(6.0 * ring, 1.5) * rate)
    frequency = low + (high - low) * _decay(n, rate, fall)
    body = np.sin(2.0 * np.pi * phase_of(frequency, rate)) * _decay(n, rate, ring)
    click = highpass(rng.standard_normal(n), 1500.0, rate) * _decay(n, rate, 0.003)
    return np.tanh(rng.uniform(1.0, 2.5) * body) + rng.uniform(0.02, 0.3) * click


def _snare(rng: np.random.Generator, rate: int) -> Signal:
    n = int(0.5 * rate)
    tone = float(rng.uniform(150.0, 240.0))
    t = np.arange(n) / rate
    body = np.zeros(n)
    for ratio, gain in ((1.0, 1.0), (1.6, 0.6), (2.3, 0.3)):
        body += gain * np.sin(2.0 * np.pi * tone * ratio * t)
    wires = bandpass(rng.standard_normal(n), rng.uniform(900.0, 2500.0), rng.uniform(7000.0, 14000.0), rate)
    snap = wires * _decay(n, rate, float(rng.uniform(0.05, 0.16)))
    return rng.uniform(0.3, 0.9) * body * _decay(n, rate, float(rng.uniform(0.03, 0.09))) + 1.4 * snap


def _clap(rng: np.random.Generator, rate: int) -> Signal:
    n = int(0.4 * rate)
    out = np.zeros(n)
    for start in (0.0, 0.011, 0.022, 0.031):
        burst = rng.standard_normal(n) * _decay(n, rate, 0.006 if start < 0.03 else rng.uniform(0.05, 0.12))
        add_at(out, start, burst, rate)
    return bandpass(out, rng.uniform(700.0, 1100.0), rng.uniform(2000.0, 4500.0), rate) * 1.5


def _rim(rng: np.random.Generator, rate: int) -> Signal:
    n = int(0.12 * rate)
    t = np.arange(n) / rate
    tone = rng.uniform(380.0, 520.0)
    ring = np.sin(2.0 * np.pi * tone * t) + np.sin(2.0 * np.pi * tone * 3.6 * t)
    return ring * _decay(n, rate, 0.012) + 0.3 * rng.standard_normal(n) * _decay(n, rate, 0.004)


def _metal(rng: np.random.Generator, rate: int, edge: float, ring: float, tonal: float) -> Signal:
    """Hi-hats and cymbals: high-passed noise with a share (0 to 1) of inharmonic square waves."""
    n = int(min(5.0 * ring, 3.0) * rate)
    t = np.arange(n) / rate
    partials = np.zeros(n)
    for ratio in (2.0, 3.0, 4.16, 5.43, 6.79, 8.21):
        partials += np.sign(np.sin(2.0 * np.pi * ratio * rng.uniform(180.0, 420.0) * t))
    raw = (1.0 - tonal) * rng.standard_normal(n) + tonal * partials / 3.0
    return highpass(raw, edge, rate, order=3) * _decay(n, rate, ring)


def _kit(rng: np.random.Generator, rate: int) -> dict[str, list[Signal]]:
    """Draws the pieces of a kit, each with the few variants that keep repeated hits from being copies."""
    low = float(rng.uniform(40.0, 65.0))
    ring = float(rng.uniform(0.07, 0.28))
    edge = float(rng.uniform(5000.0, 8500.0))
    tonal = float(rng.uniform(0.0, 0.6))
    tom = float(rng.uniform(75.0, 110.0))
    fall = float(rng.uniform(0.012, 0.05))
    top = float(rng.uniform(120.0, 320.0))
    short, long = float(rng.uniform(0.02, 0.06)), float(rng.uniform(0.12, 0.35))
    snare = _snare(rng, rate)
    return {
        "kick": [_drop(rng, rate, top, low, fall, ring)],
        "snare": [snare, lowpass(snare, 7000.0, rate, order=1)],
        "clap": [_clap(rng, rate)],
        "rim": [_rim(rng, rate)],
        "hat": [_metal(rng, rate, edge, short, tonal) for _ in range(3)],
        "open": [_metal(rng, rate, edge, long, tonal)],
        "ride": [_metal(rng, rate, edge * 0.7, 0.45, 0.7) * 0.6],
        "crash": [_metal(rng, rate, 3200.0, float(rng.uniform(0.4, 0.9)), 0.2)],
        "tom": [_drop(rng, rate, tom * k * 1.7, tom * k, 0.06, 0.16) for k in (1.8, 1.35, 1.0)],
    }


def _bar_hits(
    rng: np.random.Generator, groove: dict[str, str], steps: int, fill: bool
) -> list[tuple[str, int, float]]:
    """(piece, step, velocity) of one bar; `fill` replaces the last beat by toms or a snare roll."""
    last = steps - 4 if fill else steps
    hits = [
        (piece, step, 1.0 if pattern[step % 16] == "x" else 0.45)
        for piece, pattern in groove.items()
        for step in range(last)
        if pattern[step % 16] != "."
    ]
    if rng.random() < 0.3:
        hits.append(("kick", int(rng.integers(last)), 0.7))
    if fill:
        piece = "tom" if rng.random() < 0.65 else "snare"
        hits += [(piece, last + k, 0.6 + 0.12 * k) for k in range(4) if k == 0 or rng.random() < 0.85]
    return hits


def render_drums(rng: np.random.Generator, song: Song, rate: int, shots: Shots | None) -> NDArray[np.float64]:
    """Drum stem of a song, dry, `[shape=(2, n)]`."""
    out = np.zeros((2, round(song.seconds * rate)))
    kit = _kit(rng, rate)
    if shots and rng.random() < SHARE:
        kit |= shots.kit(rng, rate)
    groove = _GROOVES[int(rng.integers(len(_GROOVES)))]
    gains = {piece: float(rng.uniform(0.7, 1.15)) for piece in kit}
    width = float(rng.uniform(0.2, 1.0)) * float(rng.choice([-1.0, 1.0]))
    toms = 0
    for bar in song.playing("drums"):
        hits = _bar_hits(rng, groove, song.steps, fill=bar % 4 == 3 and rng.random() < 0.7)
        if bar % 8 == 0 or (bar % 4 == 0 and rng.random() < 0.4):
            hits.append(("crash", 0, 0.9))
        for piece, step, velocity in hits:
            variants = kit[piece]
            toms += piece == "tom"
            which = toms % len(variants) if piece == "tom" else int(rng.integers(len(variants)))
            gain = velocity * gains[piece] * _LEVELS[piece] * rng.uniform(0.85, 1.0)
            place = 0.5 * (which - 1) if piece == "tom" else _PANS[piece]
            start = song.time(bar, step) + (rng.normal(0.0, 0.003) if bar or step else 0.0)
            add_at(out, start, pan(gain * variants[which], width * place), rate)
    drive = float(rng.uniform(0.3, 1.5))
    return np.tanh(drive * out) / drive
