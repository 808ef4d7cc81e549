"""The training loop: it goes on where it was stopped, and refuses what it cannot begin with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training import train
from training.evaluate import load
from training.export import export
from training.model import Checkpoint
from training.pool import HELD_OUT, open_pool
from training.shots import MissingError
from training.train import Options, Trainer, error_floor, error_level


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of one process that wait for each other take long where tests share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pool() -> NDArray[np.int16]:
    """Two songs of noise of one second."""
    noise = np.random.default_rng(1).integers(-3000, 3000, size=(2, 4, 2, 44100))
    return np.asarray(noise, dtype=np.int16)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, pool: NDArray[np.int16]
) -> None:
    options = Options(folder=tmp_path, batch=1, excerpt_seconds=0.3)
    whole = Trainer(options, pool)
    for _ in range(3):
        whole.train_step(0.1)

    stopped = Trainer(options, pool)
    stopped.train_step(0.1)
    stopped.save()
    resumed = Trainer(options, pool)

    assert resumed.step == 1
    resumed.train_step(0.1)
    resumed.train_step(0.1)
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict())
    torch.testing.assert_close(resumed.average, whole.average)


def test_what_is_exported_is_the_average_and_demucs_reads_it(tmp_path: Path, pool: NDArray[np.int16]) -> None:
    trainer = Trainer(Options(folder=tmp_path, batch=1, excerpt_seconds=0.3), pool)
    for value in trainer.average.values():
        value.mul_(0.5)
    trainer.save()
    checkpoint = Checkpoint.load(tmp_path / "checkpoint.pt")

    export([checkpoint], tmp_path / "model.safetensors")

    weights = load(tmp_path / "model.safetensors").state_dict()
    assert weights.keys() == checkpoint.average.keys()
    for name, value in checkpoint.average.items():
        torch.testing.assert_close(weights[name], value, atol=1e-3, rtol=1e-3)


def test_of_several_runs_the_mean_is_exported(tmp_path: Path, pool: NDArray[np.int16]) -> None:
    runs = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        trainer = Trainer(Options(folder=folder, batch=1, excerpt_seconds=0.3, seed=seed), pool)
        trainer.save()
        runs.append(Checkpoint.load(trainer.path))

    export(runs, tmp_path / "model.safetensors")

    weights = load(tmp_path / "model.safetensors").state_dict()
    for name, one in runs[0].average.items():
        torch.testing.assert_close(weights[name], (one + runs[1].average[name]) / 2, atol=1e-3, rtol=1e-3)


def test_the_loss_falls_with_the_error_down_to_its_bound_and_counts_the_bass_as_often_as_told() -> None:
    truth = torch.randn(2, 4, 2, 1000, generator=torch.Generator().manual_seed(1))
    mixture = truth.sum(dim=1)

    def loss(wrong: int, bass_weight: float = 1.0) -> float:
        estimate = truth.clone()
        estimate[:, wrong] = 0.0
        return float(error_level(estimate, truth, mixture, -25.0, bass_weight))

    assert float(error_level(truth, truth, mixture, -25.0, 1.0)) == pytest.approx(-25.0, abs=0.1)
    assert loss(0) > -25.0
    assert loss(1, bass_weight=3.0) - loss(0, bass_weight=3.0) > 1.0
    assert loss(1, bass_weight=1.0) == pytest.approx(loss(0, bass_weight=1.0), abs=0.5)


def test_a_new_model_is_spared_the_low_bound() -> None:
    assert [error_floor(step, -25.0, 1000) for step in (0, 999, 1000)] == [-10.0, -10.0, -25.0]


def test_a_new_run_can_begin_with_a_file_of_weights_and_a_stopped_one_goes_on_instead(
    tmp_path: Path, pool: NDArray[np.int16]
) -> None:
    first = Trainer(Options(folder=tmp_path, batch=1, excerpt_seconds=0.3, seed=2), pool)
    first.save()
    export([Checkpoint.load(first.path)], tmp_path / "begin.safetensors")
    options = Options(folder=tmp_path / "next", start=str(tmp_path / "begin.safetensors"))
    options.folder.mkdir()

    begun = Trainer(options, pool)
    for name, value in first.average.items():
        torch.testing.assert_close(begun.average[name], value, atol=1e-3, rtol=1e-3)
    for value in begun.model.parameters():
        value.data.zero_()
    begun.save()

    assert all(not value.any() for value in Trainer(options, pool).model.parameters())


def test_a_pool_needs_its_one_shots_and_keeps_out_of_the_seeds_for_evaluation(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="There are no one-shots"):
        open_pool(tmp_path / "pool", tmp_path / "none.safetensors", 2, 1.0, 44100)
    with pytest.raises(ValueError, match="held out for evaluation"):
        open_pool(tmp_path / "pool", tmp_path / "none.safetensors", 2, 1.0, 44100, first_seed=HELD_OUT - 1)
    assert not (tmp_path / "pool" / "pool.int16").exists()


def test_the_command_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(Options(), folder=tmp_path / "run", shots=tmp_path / "none.safetensors")
    monkeypatch.setattr("sys.argv", ["train", "--folder", str(options.folder), "--shots", str(options.shots)])
    with pytest.raises(SystemExit, match=r"no one-shots at .*: python -m training\.shots"):
        train.main()
