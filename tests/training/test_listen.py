"""What is said of a model's stems where the truth is not known."""

import numpy as np
import pytest

from training.listen import decibels, describe, energy_below
from training.model import build_model


def test_energy_is_counted_below_a_frequency_only() -> None:
    seconds = np.arange(44_100) / 44_100
    low, high = (np.sin(2 * np.pi * hertz * seconds) for hertz in (100, 200))
    song = np.stack([low + high, low]).astype(np.float32)

    only_low = np.stack([low, low]).astype(np.float32)
    assert energy_below(song, 150.0, 44_100) == pytest.approx(energy_below(only_low, 150.0, 44_100), rel=1e-6)
    assert energy_below(song, 250.0, 44_100) == pytest.approx(
        energy_below(song, 150.0, 44_100) * 1.5, rel=1e-6
    )


def test_levels_are_relative_to_the_song() -> None:
    song = np.ones((2, 100), np.float32)
    assert decibels(np.full_like(song, 0.5), song) == pytest.approx(-6.02, abs=0.01)


def test_every_stem_of_a_song_gets_its_row() -> None:
    noise = np.random.default_rng(1).standard_normal((2, 44_100)).astype(np.float32)
    rows = describe(build_model().eval(), noise).splitlines()
    assert [row.split()[1] for row in rows] == ["drums", "bass", "other", "vocals", "song"]
