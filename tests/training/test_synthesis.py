"""What callers of the synthesizer rely on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from training import synthesis
from training.composition import STEMS
from training.synthesis import mix, synthesize


def test_gives_the_four_stems_in_the_order_of_demucs() -> None:
    assert list(synthesize(1, 0.5)) == ["drums", "bass", "other", "vocals"]


@pytest.mark.parametrize(("seconds", "rate"), [(2.0, 44100), (1.2345, 44100), (1.0, 22050), (0.01, 48000)])
def test_stems_are_stereo_float32_of_the_asked_length(seconds: float, rate: int) -> None:
    for audio in synthesize(3, seconds, rate).values():
        assert audio.shape == (2, round(seconds * rate))
        assert audio.dtype == np.float32
        assert np.all(np.isfinite(audio))


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = synthesize(7, 3.0), synthesize(7, 3.0)
    assert all(first[name].tobytes() == second[name].tobytes() for name in STEMS)


def test_different_seeds_give_different_songs() -> None:
    first, second = synthesize(7, 2.0), synthesize(8, 2.0)
    for name in STEMS:
        assert not np.array_equal(first[name], second[name])


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 1_000_000, 1_000_001])
def test_each_stem_is_audible_within_the_first_seconds_and_the_mixture_does_not_clip(seed: int) -> None:
    stems = synthesize(seed, 4.0)
    mixture = mix(stems)
    assert 0.4 < float(np.max(np.abs(mixture))) < 1.0
    loudness = float(np.sqrt(np.mean(mixture**2)))
    for name in STEMS:
        assert float(np.sqrt(np.mean(stems[name] ** 2))) > 0.05 * loudness, name


def test_the_mixture_is_the_sum_of_the_stems() -> None:
    stems = synthesize(5, 1.0)
    expected = stems["drums"] + stems["bass"] + stems["other"] + stems["vocals"]
    np.testing.assert_allclose(mix(stems), expected, atol=1e-6)


def test_bass_lies_below_the_rest_of_the_music() -> None:
    def centroid(audio: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(audio.mean(axis=0))) ** 2
        return float((power * np.fft.rfftfreq(audio.shape[1], 1 / 44100)).sum() / power.sum())

    stems = synthesize(11, 4.0)
    assert centroid(stems["bass"]) < 300.0
    assert centroid(stems["bass"]) < min(centroid(stems["other"]), centroid(stems["vocals"]))


@pytest.mark.parametrize(("seed", "seconds", "rate"), [(-1, 1.0, 44100), (1, 0.0, 44100), (1, 1.0, 100)])
def test_arguments_out_of_range_are_refused(seed: int, seconds: float, rate: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        synthesize(seed, seconds, rate)


def test_the_command_line_writes_the_mixture_and_the_stems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, folder = tmp_path / "song.wav", tmp_path / "stems"
    arguments = ["synthesis", "--seed", "2", "--seconds", "1", "--out", str(out), "--stems", str(folder)]
    monkeypatch.setattr("sys.argv", arguments)
    synthesis.main()
    audio, rate = soundfile.read(out)
    assert (rate, audio.shape) == (44100, (44100, 2))
    assert sorted(path.stem for path in folder.glob("*.wav")) == sorted(STEMS)
