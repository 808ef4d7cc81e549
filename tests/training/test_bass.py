"""Walking lines and the double bass that often plays them."""

from collections import Counter

import numpy as np
import pytest

from training.bass import _upright, _walk
from training.composition import compose

RATE = 44_100


@pytest.mark.parametrize("seed", range(12))
def test_a_walking_line_has_a_note_on_each_beat_from_root_to_root(seed: int) -> None:
    song = compose(np.random.default_rng(seed), 20.0)

    notes = _walk(np.random.default_rng(seed), song)

    bars = Counter(int(note.start / song.bar_seconds + 1e-6) for note in notes)
    whole = [bar for bar in song.playing("bass") if (bar + 1) * song.bar_seconds <= song.seconds]
    assert {bars[bar] for bar in whole} == {song.beats_per_bar}
    assert all(note.start + note.duration <= song.seconds + 1e-9 for note in notes)
    for bar in whole:
        first, *_, last = [note for note in notes if int(note.start / song.bar_seconds + 1e-6) == bar]
        assert (first.pitch - song.chord(bar)[0]) % 12 == 0
        assert (last.pitch - song.chord(bar + 1)[0]) % 12 in (1, 2, 10, 11)


@pytest.mark.parametrize("frequency", [41.2, 61.7, 98.0])
def test_a_double_bass_sounds_at_the_pitch_asked_for(frequency: float) -> None:
    for seed in range(8):
        tone = _upright(np.random.default_rng(seed), RATE)(frequency, 1.5)
        later = tone[RATE // 4 :]  # the thump and the slide are over
        power = np.abs(np.fft.rfft(later * np.hanning(len(later)), 8 * RATE)) ** 2
        loudest = float(np.fft.rfftfreq(8 * RATE, 1 / RATE)[power.argmax()])
        harmonic = round(loudest / frequency)
        assert 1 <= harmonic <= 4
        assert loudest == pytest.approx(harmonic * frequency, rel=0.01)
