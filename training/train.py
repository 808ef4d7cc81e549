"""Trains the small separation model on synthesized songs, within a bounded time.

Usage:
    python -m training.train --minutes 40 [--folder training/runs/default] [--songs 320]

A run continues from the checkpoint in its folder where there is one, else it begins with the weights named by
`--start`, else with random ones. Minutes are CPU time, shared out among the threads: waiting does not count.
"""

import argparse
import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from demucs.htdemucs import HTDemucs
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from runner.allocator import keep_memory
from training.composition import STEMS
from training.evaluate import load
from training.model import ARGUMENTS, Checkpoint, build_model
from training.pool import draw_batch, open_pool
from training.shots import MissingError


@dataclass(frozen=True)
class Options:
    """What a run is made of; the defaults are the recipe as it is today."""

    folder: Path = Path("training/runs/default")
    shots: Path = Path("training/runs/shots.safetensors")
    start: str = ""
    """A file of weights that a new run begins with."""
    minutes: float = 40.0
    songs: int = 320
    song_seconds: float = 20.0
    batch: int = 2
    excerpt_seconds: float = 3.0
    learning_rate: float = 1.5e-3
    average_decay: float = 0.998
    floor_db: float = -25.0
    bass_weight: float = 4.0
    l1_weight: float = 0.0
    spectral_weight: float = 0.0
    seed: int = 1
    threads: int = 2
    device: str = "cpu"


def error_level(
    estimate: Tensor, truth: Tensor, mixture: Tensor, floor_db: float, bass_weight: float
) -> Tensor:
    """Mean level in dB of the errors of the stems relative to the mixture, bounded below at `floor_db`.

    The thresholded SNR of S. Wisdom et al., "Unsupervised Sound Separation Using Mixture Invariant Training",
    NeurIPS 2020, equation (2), with the power of the mixture in place of that of the stem, so that silent
    stems count too. The lower the bound, the steeper the loss of silent stems near silence: with -30 dB a new
    model learned to be silent. The higher the bound, the less errors count that are below it already.

    Args:
        estimate: `[shape=(batch, stems, 2, n)]`.
        truth: the same shape.
        mixture: `[shape=(batch, 2, n)]`.
        floor_db: below 0.
        bass_weight: how often the bass counts where each other stem counts once.
    """
    power = mixture.square().mean(dim=(1, 2))[:, None] + 1e-6
    error = (estimate - truth).square().mean(dim=(2, 3))
    levels = 10.0 * torch.log10(error / power + 10.0 ** (floor_db / 10.0))
    weights = torch.tensor([bass_weight if name == "bass" else 1.0 for name in STEMS], device=levels.device)
    return (levels.mean(dim=0) * weights).sum() / weights.sum()


def error_floor(step: int, lowest_db: float, new_steps: int) -> float:
    """The bound of `error_level` in dB: -10 while a model is new, for so many steps, then `lowest_db`."""
    return -10.0 if step < new_steps else lowest_db


def spectral_loss(estimate: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of magnitude spectra (2048 samples per frame); both `[shape=(..., n)]`."""
    window = torch.hann_window(2048, device=truth.device)
    spectra = [
        torch.stft(x.reshape(-1, x.shape[-1]), 2048, 512, window=window, normalized=True, return_complex=True)
        for x in (estimate, truth)
    ]
    return functional.l1_loss(spectra[0].abs(), spectra[1].abs())


def rate_factor(step: int, progress: float) -> float:
    """Factor on the learning rate: 40 steps of warm-up, then half a cosine down to 2 %."""
    warm = min(1.0, (step + 1) / 40.0)
    return warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0))))


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: HTDemucs, decay: float) -> None:
    """Moves the averaged weights towards those of the model, in place."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1.0 - decay)
        else:
            average[name].copy_(value)


def begin_with(model: HTDemucs, path: Path) -> None:
    """Takes over an exported model's weights; layers that it does not have stay as they are.

    Raises:
        RuntimeError: it has layers of other shapes.
    """
    model.load_state_dict(load(path).state_dict(), strict=False)


class Trainer:
    """One training run: model, optimizer, average, position in time."""

    def __init__(self, options: Options, pool: NDArray[np.int16]) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.pool = pool
        self.model = build_model().to(options.device)
        if options.start:
            begin_with(self.model, Path(options.start))
        parameters = self.model.parameters()
        self.optimizer = torch.optim.Adam(parameters, lr=options.learning_rate, betas=(0.9, 0.99))
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        self.stopping = False
        self.path = options.folder / "checkpoint.pt"
        if self.path.is_file():
            self._resume()

    def _resume(self) -> None:
        saved = Checkpoint.load(self.path)
        self.model.load_state_dict(saved.model)
        self.optimizer.load_state_dict(saved.optimizer)
        self.average = {name: value.to(self.options.device) for name, value in saved.average.items()}
        self.step, self.seconds = saved.step, saved.seconds
        print(f"continues at step {self.step}", flush=True)

    def save(self) -> None:
        """Writes the checkpoint of the run."""
        checkpoint = Checkpoint(
            model=self.model.state_dict(),
            average=self.average,
            optimizer=self.optimizer.state_dict(),
            seed=self.options.seed,
            step=self.step,
            seconds=self.seconds,
        )
        checkpoint.save(self.path)

    def train_step(self, progress: float) -> float:
        """One step of the optimizer; returns the loss."""
        # The step is part of the seed, so that a resumed run draws what an uninterrupted one would have.
        rng = np.random.default_rng([self.options.seed, self.step])
        length = round(self.options.excerpt_seconds * ARGUMENTS["samplerate"])
        drawn = draw_batch(rng, self.pool, self.options.batch, length, int(ARGUMENTS["samplerate"]))
        truth = torch.from_numpy(drawn).to(self.options.device)
        mixture = truth.sum(dim=1)
        # Normalised as demucs does before inference.
        scale = mixture.mean(dim=1).std(dim=-1)[:, None, None] + 1e-3
        mixture, truth = mixture / scale, truth / scale[:, None]
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * rate_factor(self.step, progress)
        self.model.train()
        # On a CPU 16 bits were no faster, and took 1.7 times as long where it has no instructions for them.
        with torch.autocast(self.options.device, dtype=torch.bfloat16, enabled=self.options.device != "cpu"):
            estimate = self.model(mixture)
        new = 0 if self.options.start else 1000
        floor = error_floor(self.step, self.options.floor_db, new)
        loss = error_level(estimate.float(), truth, mixture, floor, self.options.bass_weight)
        if self.options.l1_weight > 0.0:
            loss = loss + self.options.l1_weight * functional.l1_loss(estimate.float(), truth)
        if self.options.spectral_weight > 0.0:
            loss = loss + self.options.spectral_weight * spectral_loss(estimate.float(), truth)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        # Early steps are forgotten sooner, or the random start would weigh on the average for long.
        decay = min(self.options.average_decay, self.step / (self.step + 10.0))
        update_average(self.average, self.model, decay)
        return float(loss.detach())

    def stop(self, *_: object) -> None:
        """Ends the run after the current step; can serve as handler of a signal."""
        self.stopping = True

    def run(self) -> None:
        """Trains until the time is used up or `stop` was called; saves every two minutes and at the end."""
        limit = self.options.minutes * 60.0
        losses: list[float] = []
        saved = self.seconds
        while self.seconds < limit and not self.stopping:
            begin = time.process_time()
            losses.append(self.train_step(self.seconds / limit))
            self.seconds += (time.process_time() - begin) / self.options.threads
            if self.step % 10 == 0:
                mean = float(np.mean(losses[-10:]))
                print(f"step {self.step}  loss {mean:.4f}  {self.seconds / 60.0:.1f} min", flush=True)
            if self.seconds - saved > 120.0:
                self.save()
                saved = self.seconds
        self.save()


def main() -> None:
    """Command line: one argument per field of `Options`."""
    parser = argparse.ArgumentParser(description="Train the small separation model.")
    for name, default in vars(Options()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = Options(**vars(parser.parse_args()))
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    folder, rate = options.folder.parent / "pool", int(ARGUMENTS["samplerate"])
    try:
        pool = open_pool(folder, options.shots, options.songs, options.song_seconds, rate)
    except MissingError as error:
        raise SystemExit(str(error)) from error
    keep_memory()
    trainer = Trainer(options, pool)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, trainer.stop)
    trainer.run()


if __name__ == "__main__":
    main()
