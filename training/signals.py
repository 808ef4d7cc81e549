"""Building blocks of sound synthesis: oscillators, envelopes, filters, room, dynamics.

Signals are mono float64 arrays `[shape=(n,)]` with a nominal range of [-1, 1] unless stated otherwise.
Frequencies are in Hz, times in seconds, `rate` is the sample rate in Hz.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import signal as dsp

Signal = NDArray[np.float64]


def midi_to_hz(pitch: float) -> float:
    """Frequency in Hz of a MIDI pitch (69 is A4 = 440 Hz, equal temperament; fractions allowed)."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))


def phase_of(frequency: Signal, rate: int, start: float = 0.0) -> Signal:
    """Running phase in cycles (not wrapped) of a frequency curve in Hz, beginning at `start`."""
    return start + np.cumsum(frequency) / rate


def _step_correction(phase: Signal, increment: Signal) -> Signal:
    """Polynomial correction around each wrap of `phase` (in cycles, wrapped to [0, 1)).

    PolyBLEP after Välimäki and Huovilainen, "Antialiasing Oscillators in Subtractive Synthesis",
    IEEE Signal Processing Magazine 24(2), 2007.
    """
    correction = np.zeros_like(phase)
    after = np.flatnonzero(phase < increment)
    t = phase[after] / increment[after]
    correction[after] = 2.0 * t - t * t - 1.0
    before = np.flatnonzero(phase > 1.0 - increment)
    t = (phase[before] - 1.0) / increment[before]
    correction[before] = t * t + 2.0 * t + 1.0
    return correction


def saw(frequency: Signal, rate: int, start: float = 0.0) -> Signal:
    """Sawtooth with softened steps (little aliasing) that follows a frequency curve in Hz."""
    phase = phase_of(frequency, rate, start) % 1.0
    return 2.0 * phase - 1.0 - _step_correction(phase, frequency / rate)


def pulse(frequency: Signal, rate: int, width: float = 0.5, start: float = 0.0) -> Signal:
    """Pulse wave of relative `width` in (0, 1); 0.5 is a square. Without constant part."""
    return 0.5 * (saw(frequency, rate, start) - saw(frequency, rate, start + 1.0 - width))


def harmonics(frequency: float, amplitudes: Signal, decays: Signal, n: int, rate: int) -> Signal:
    """Sum of decaying harmonics, the spectrum of a plucked or struck string.

    Args:
        frequency: of the first harmonic, in Hz.
        amplitudes: of harmonic 1, 2, ...; those above 0.45 of the sample rate are left out.
        decays: time constants in seconds, one per harmonic (large values sound for ever).
        n: length of the result in samples.
        rate: sample rate in Hz.
    """
    t = np.arange(n) / rate
    out = np.zeros(n)
    for k, (amplitude, decay) in enumerate(zip(amplitudes, decays, strict=True), start=1):
        if k * frequency > 0.45 * rate:
            break
        # A partial that has decayed by 70 dB is not worth computing any further.
        m = min(n, int(8.0 * decay * rate) + 1)
        out[:m] += amplitude * np.exp(-t[:m] / decay) * np.sin(2.0 * np.pi * k * frequency * t[:m])
    return out


def adsr(n: int, rate: int, attack: float, decay: float, sustain: float, release: float) -> Signal:
    """Envelope of `n` samples: rise to 1, exponential fall to `sustain`, `release` inside the length."""
    t = np.arange(n) / rate
    out = sustain + (1.0 - sustain) * np.exp(-np.maximum(t - attack, 0.0) / max(decay, 1e-4))
    out *= np.minimum(t / max(attack, 1e-4), 1.0)
    return out * np.clip((n / rate - t) / max(release, 1e-3), 0.0, 1.0)


_Kind = Literal["lowpass", "highpass", "bandpass"]


def _sos(kind: _Kind, edge: float | tuple[float, float], rate: int, order: int) -> Signal:
    limit = 0.47 * rate
    low, high = edge if isinstance(edge, tuple) else (edge, edge)
    band = [min(max(low, 10.0), limit * 0.9), min(max(high, 20.0), limit)]
    edges: float | list[float] = band if kind == "bandpass" else band[1]
    return np.asarray(dsp.butter(order, edges, kind, fs=rate, output="sos"), dtype=np.float64)


def lowpass(x: Signal, edge: float, rate: int, order: int = 2) -> Signal:
    """Butterworth low-pass with its -3 dB point at `edge` Hz (limited to what the rate allows)."""
    return np.asarray(dsp.sosfilt(_sos("lowpass", edge, rate, order), x), dtype=np.float64)


def highpass(x: Signal, edge: float, rate: int, order: int = 2) -> Signal:
    """Butterworth high-pass with its -3 dB point at `edge` Hz."""
    return np.asarray(dsp.sosfilt(_sos("highpass", edge, rate, order), x), dtype=np.float64)


def bandpass(x: Signal, low: float, high: float, rate: int, order: int = 1) -> Signal:
    """Butterworth band-pass between `low` and `high` Hz."""
    return np.asarray(dsp.sosfilt(_sos("bandpass", (low, high), rate, order), x), dtype=np.float64)


def sweep_lowpass(x: Signal, dark: float, bright: float, decay: float, rate: int) -> Signal:
    """Low-pass that closes from `bright` to `dark` Hz with the time constant `decay`.

    A cross-fade of two fixed filters stands for the moving one: it is some hundred times faster in numpy.
    """
    share = np.exp(-np.arange(x.shape[-1]) / (rate * max(decay, 1e-3)))
    closed = lowpass(x, dark, rate)
    return closed + share * (lowpass(x, bright, rate) - closed)


def add_at(target: NDArray[np.float64], start: float, x: NDArray[np.float64], rate: int) -> None:
    """Adds `x` to `target` in place (last axis is time), from `start` seconds on, clipped to its length."""
    first = round(start * rate)
    skip = max(-first, 0)
    first = max(first, 0)
    length = min(x.shape[-1] - skip, target.shape[-1] - first)
    if length > 0:
        target[..., first : first + length] += x[..., skip : skip + length]


def pan(x: Signal, position: float) -> NDArray[np.float64]:
    """Mono to stereo `[shape=(2, n)]` with constant power; `position` from -1 (left) to 1 (right)."""
    angle = (np.clip(position, -1.0, 1.0) + 1.0) * np.pi / 4.0
    return np.stack([np.cos(angle) * x, np.sin(angle) * x])


def room(
    x: NDArray[np.float64], rng: np.random.Generator, rate: int, decay: float, wet: float
) -> NDArray[np.float64]:
    """Adds a simple diffuse reverberation to a stereo signal `[shape=(2, n)]`, same shape out.

    Args:
        x: dry signal.
        rng: draws the noise of the impulse response (left and right differ, which widens the image).
        rate: sample rate in Hz.
        decay: time in seconds after which the reverberation has fallen by 60 dB.
        wet: level of the reverberation relative to the dry signal, 0 to 1.
    """
    length = max(int(min(decay, 1.2) * rate), 8)
    t = np.arange(length) / rate
    tail = rng.standard_normal((2, length)) * 10.0 ** (-3.0 * t / decay)
    tail[:, : int(rng.uniform(0.004, 0.025) * rate)] = 0.0
    tail = lowpass(tail, float(rng.uniform(2500.0, 9000.0)), rate, order=1)
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True)) + 1e-9
    send = x.astype(np.float32)
    wet_signal = dsp.oaconvolve(send, tail.astype(np.float32), axes=-1)[:, : x.shape[-1]]
    return np.asarray(x + wet * wet_signal, dtype=np.float64)


def compress(x: NDArray[np.float64], rate: int, amount: float) -> NDArray[np.float64]:
    """Light compression of a stereo signal, `[shape=(2, n)]`; `amount` from 0 (none) to 1 (about 2:1)."""
    level = np.max(np.abs(x), axis=0)
    smooth = np.maximum(lowpass(level, 12.0, rate, order=1), 0.0)
    threshold = 0.5 * float(np.max(smooth)) + 1e-6
    return np.asarray(x * (1.0 + smooth / threshold) ** (-amount), dtype=np.float64)
