"""What training draws from its pool of songs."""

import numpy as np
import pytest

from training.pool import draw_batch, shelves

RATE = 44_100


def gain_db(tone: float, seed: int) -> float:
    """What happens to a sine of so many Hz."""
    sine = np.sin(2 * np.pi * tone / RATE * np.arange(RATE)).astype(np.float32)
    shaped = shelves(np.random.default_rng(seed), np.stack([sine, sine]), RATE)
    assert shaped.shape == (2, RATE)
    assert shaped.dtype == np.float32
    middle = slice(RATE // 4, -RATE // 4)
    return float(20 * np.log10(np.std(shaped[0, middle]) / np.std(sine[middle])))


def test_tone_controls_raise_and_lower_both_ends_by_up_to_their_reach() -> None:
    low = [gain_db(20.0, seed) for seed in range(30)]
    high = [gain_db(18_000.0, seed) for seed in range(30)]
    assert max(map(abs, low)) <= 8.1
    assert max(map(abs, high)) <= 6.1
    assert min(low) < -4.0 < 4.0 < max(low)
    assert min(high) < -3.0 < 3.0 < max(high)


def test_a_batch_has_the_pools_samples_in_bounds_of_gain_and_tone_and_now_and_then_a_silent_stem() -> None:
    rng = np.random.default_rng(1)
    pool = rng.integers(-3000, 3000, size=(3, 4, 2, RATE)).astype(np.int16)

    batch = draw_batch(rng, pool, 60, RATE // 4, RATE)

    assert batch.shape == (60, 4, 2, RATE // 4)
    levels = 20 * np.log10(batch.std(axis=(2, 3)) + 1e-9) - 20 * np.log10(pool.std() / 32767)
    silent = levels < -100
    assert 0.02 < silent.mean() < 0.2
    assert -8 - 8 - 1 < levels[~silent].min() < levels[~silent].max() < 4 + 8 + 1


def test_the_same_seed_draws_the_same() -> None:
    pool = np.random.default_rng(2).integers(-3000, 3000, size=(2, 4, 2, 9000)).astype(np.int16)
    one, other, third = (draw_batch(np.random.default_rng(seed), pool, 2, 4000, RATE) for seed in (5, 5, 6))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)


@pytest.mark.parametrize("length", [1, 2, 4001])
def test_tone_controls_take_any_length(length: int) -> None:
    assert np.isfinite(shelves(np.random.default_rng(1), np.ones((2, length), np.float32), RATE)).all()
