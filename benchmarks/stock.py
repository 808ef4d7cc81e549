"""The obvious runner, as anyone would write it: demucs, librosa, pyloudnorm and scipy on the whole song.

The baseline of `benchmarks.song`, in a process of its own: `python -m benchmarks.stock SONG WEIGHTS FOLDER`.
Nine 16-bit WAV files with one gain for all, as a job's defaults ask for.
"""

import sys
from pathlib import Path

import librosa
import numpy as np
import pyloudnorm
import soundfile
import torch
from demucs.apply import apply_model
from demucs.hf import load_safetensors_model
from numpy.typing import NDArray
from scipy.signal import resample_poly

Audio = NDArray[np.float32]


def hpss(signal: Audio) -> tuple[Audio, Audio]:
    """Harmonic and percussive part of `(frames, channels)`, channel by channel."""
    parts = [librosa.effects.hpss(np.ascontiguousarray(channel)) for channel in signal.T]
    return np.stack([part[0] for part in parts], axis=1), np.stack([part[1] for part in parts], axis=1)


def main(song_file: str, weights: str, folder: str) -> None:
    """Separates a song of 44.1 kHz in stereo."""
    song, rate = soundfile.read(song_file, dtype="float32", always_2d=True)
    model = load_safetensors_model(weights).float().eval()
    mix = torch.from_numpy(song.T.copy())
    mean, std = mix.mean(0).mean(), mix.mean(0).std() + 1e-8
    with torch.no_grad():
        stems = apply_model(model, ((mix - mean) / std)[None], shifts=0)[0] * std + mean
    tracks = {name: stem.numpy().T for name, stem in zip(model.sources, stems, strict=True)}
    tracks["harmonic"], tracks["percussive"] = hpss(tracks["drums"] + tracks["bass"] + tracks["other"])
    tracks["main"] = song
    tracks["main_harmonic"], tracks["main_percussive"] = hpss(song)
    meter = pyloudnorm.Meter(rate)
    loudness = {name: meter.integrated_loudness(track.astype(np.float64)) for name, track in tracks.items()}
    peaks = [float(np.abs(resample_poly(track, 4, 1, axis=0)).max()) for track in tracks.values()]
    gain = min(10 ** ((-14 - loudness["main"]) / 20), 10 ** (-1 / 20) / max(peaks))
    for name, track in tracks.items():
        soundfile.write(Path(folder) / f"{name}.wav", track * np.float32(gain), rate, subtype="PCM_16")


if __name__ == "__main__":
    main(*sys.argv[1:])
