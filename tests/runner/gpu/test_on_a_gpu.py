"""A song on a real GPU against the same on the CPU. Left out where there is none."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from contract.tracks import Track
from runner.pipeline import NO_GPU_MEMORY
from tests.runner.separated import Separate
from tests.runner.signals import music
from tests.runner.test_separation import signal_to_error_db

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("restored_threads")]

SONG = music(3 * 44_100)


@pytest.fixture
def limited() -> Iterator[Any]:
    """Limits what this process may take of the GPU's memory, to so many bytes."""
    whole = torch.cuda.mem_get_info()[1]

    def limit(size: int) -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(size / whole)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize(("precision", "least"), [("float32", 45), ("fast", 35)])
def test_the_nine_tracks_are_close_to_those_of_a_cpu(
    separate: Separate, precision: str, least: float
) -> None:
    expected = separate(SONG)
    result = separate(SONG, settings={"device": "cuda", "precision": precision})
    assert result.finished.device.startswith("cuda")
    assert result.finished.fallback == result.finished.warnings == ()
    for track in Track:
        assert signal_to_error_db(expected.tracks[track], result.tracks[track]) > least
        before, after = (each.finished.levels[track] for each in (expected, result))
        assert after.loudness == pytest.approx(before.loudness, abs=0.1)
        assert after.true_peak == pytest.approx(before.true_peak, rel=0.02)


def test_the_song_itself_is_measured_and_split_as_on_a_cpu(separate: Separate) -> None:
    """What no network has heard is the same to rounding."""
    expected, result = separate(SONG), separate(SONG, settings={"device": "cuda"})
    before, after = (each.finished.levels[Track.MAIN] for each in (expected, result))
    assert after.loudness == pytest.approx(before.loudness, abs=1e-6)
    assert after.true_peak == pytest.approx(before.true_peak, abs=1e-6)
    gain = result.finished.gains[Track.MAIN] - expected.finished.gains[Track.MAIN]
    for track in (Track.MAIN, Track.MAIN_HARMONIC, Track.MAIN_PERCUSSIVE):
        scaled = result.tracks[track] / 10 ** (gain / 20)
        np.testing.assert_allclose(scaled, expected.tracks[track], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [0, 2**20])
def test_without_gpu_memory_it_is_the_cpus_song(separate: Separate, limited: Any, size: int) -> None:
    expected = separate(SONG)
    limited(size)
    result = separate(SONG, settings={"device": "cuda"})
    assert result.finished.device == "cpu"
    assert len(result.finished.fallback) == 2
    assert result.finished.warnings == (NO_GPU_MEMORY,)
    for track in Track:
        assert signal_to_error_db(expected.tracks[track], result.tracks[track]) > 100
