"""Demucs, block by block: what `demucs.apply.apply_model` makes of a whole song.

That is, with shifts=0, split=True, overlap=0.25, and bit for bit with demucs' own network. It hears the song
in segments that overlap by a quarter; triangular weights fade each into the next. A frame is final as soon as
the next segment begins behind it, so that the state is a few segments of input and output, however long the
song is.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from contract.tracks import Track
from runner.device import Forward, in_precision, leaving, side_by_side, to_device
from runner.settings import Precision
from runner.waveform import Block

OVERLAP = 0.25
STEMS = (Track.DRUMS, Track.BASS, Track.OTHER, Track.VOCALS)
"""The order of a separator's results, whatever order the network itself has."""


class Network(Protocol):
    """What a Demucs, HDemucs or HTDemucs is to the runner; `segment` in seconds."""

    sources: Sequence[str]
    samplerate: int
    segment: float

    def __call__(self, mix: torch.Tensor) -> torch.Tensor: ...


class MixStatistics:
    """Mean and standard deviation of the mono mix of a stereo stream, by which `demucs.api` normalises."""

    def __init__(self) -> None:
        self._frames = 0
        self._mean = 0.0
        self._squares = 0.0  # sum of squared distances from the mean

    def push(self, block: Block) -> None:
        """Takes the next frames, shape (2, k)."""
        mono = block.mean(axis=0).astype(np.float64)
        if not mono.size:
            return
        # Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", eq. 2.1
        mean = float(mono.mean())
        difference = mean - self._mean
        frames = self._frames + mono.size
        self._squares += float(np.square(mono - mean).sum())
        self._squares += difference * difference * self._frames * mono.size / frames
        self._mean += difference * mono.size / frames
        self._frames = frames

    def result(self) -> tuple[float, float]:
        """Mean and unbiased deviation + 1e-8, both float32 numbers; deviation 1e-8 below two frames."""
        variance = self._squares / max(1, self._frames - 1)
        return float(np.float32(self._mean)), float(np.float32(np.sqrt(variance)) + np.float32(1e-8))


class Separator:
    """Splits a stereo stream at the model's rate into the four `STEMS`."""

    def __init__(
        self,
        model: torch.nn.Module,
        device: str,
        mean: float,
        std: float,
        *,
        precision: Precision = Precision.FLOAT32,
        batch: int = 1,
        plain: bool = False,
    ) -> None:
        """Moves the model to the device.

        Args:
            model: a Demucs, HDemucs, HTDemucs or a BagOfModels of them.
            device: `cpu` or `cuda`.
            mean: mean of the song's mono mix at the model's rate, see `MixStatistics`.
            std: its standard deviation, above zero.
            precision: numbers the network computes in.
            batch: how many segments it takes at once; they wait for each other. On a CPU each is computed on
                threads of its own, unless `plain`.
            plain: in float32 leaves demucs' network as it is, else layers may be replaced by equal ones.
        """
        networks = list(getattr(model, "models", [model]))
        sources = list(networks[0].sources)
        self._weights: list[list[float]] | None = getattr(model, "weights", None)
        self._streams = [
            _SegmentStream(
                network.to(device).eval(),
                self._forward(network, device, precision, batch, plain=plain),
                device,
                batch,
            )
            for network in networks
        ]
        self._waiting = [torch.zeros(len(sources), 2, 0) for _ in networks]
        self._order = [sources.index(stem) for stem in STEMS]
        self._mean, self._std = torch.tensor(mean), torch.tensor(std)

    @staticmethod
    def _forward(
        network: torch.nn.Module, device: str, precision: Precision, batch: int, *, plain: bool
    ) -> Forward:
        forward = in_precision(network, device, precision, plain=plain)
        return forward if plain or device != "cpu" else side_by_side(forward, batch)

    def push(self, block: Block) -> Block:
        """Takes the next frames, shape (2, k), and gives the final ones, shape (4, 2, k')."""
        # Normalised on the CPU, also for a GPU: there, dividing by a number is another rounding.
        mix = (torch.from_numpy(np.ascontiguousarray(block)) - self._mean) / self._std
        return self._combined([stream.push(mix) for stream in self._streams])

    def flush(self) -> Block:
        """The rest, shape (4, 2, k)."""
        return self._combined([stream.flush() for stream in self._streams])

    def _combined(self, results: list[torch.Tensor]) -> Block:
        """The weighted mean over the bag of what all of its networks have ready."""
        if self._weights is None:
            return self._scaled(results[0])
        waiting = [torch.cat(pair, dim=-1) for pair in zip(self._waiting, results, strict=True)]
        ready = min(stems.shape[-1] for stems in waiting)
        self._waiting = [stems[..., ready:].clone() for stems in waiting]
        return self._scaled(self._weighted([stems[..., :ready] for stems in waiting], self._weights))

    def _scaled(self, stems: torch.Tensor) -> Block:
        """As loud as the song, in the order of `STEMS`. Changes its argument."""
        scaled = stems.mul_(self._std).add_(self._mean)
        result: Block = (scaled if self._order == sorted(self._order) else scaled[self._order]).numpy()
        return result

    @staticmethod
    def _weighted(stems: list[torch.Tensor], bag: list[list[float]]) -> torch.Tensor:
        total = torch.zeros_like(stems[0])
        # The order of these operations is demucs', so that the roundings are too.
        for each, weights in zip(stems, bag, strict=True):
            for summed, source, weight in zip(total, each, weights, strict=True):
                summed += source * weight
        for summed, weights_of_source in zip(total, zip(*bag, strict=True), strict=True):
            summed /= sum(weights_of_source)
        return total


class _SegmentStream:
    """One network over a normalised stream: torch tensors of shape (2, k) in, (sources, 2, k) out."""

    def __init__(self, network: Network, forward: Forward, device: str, batch: int) -> None:
        self._network, self._forward, self._device, self._batch = network, forward, device, batch
        self._segment = int(network.samplerate * network.segment)
        self._stride = int((1 - OVERLAP) * self._segment)
        # The most that a segment can reach back before its own first frame.
        self._margin = max(self._valid_length(1), self._valid_length(self._segment))
        self._window = torch.zeros(2, 0)  # the frames from `_window_start` on, before those just arrived
        self._arrived: list[torch.Tensor] = []
        # While a GPU computes some segments, those before it go their way.
        self._leaving: deque[Callable[[], torch.Tensor]] = deque()
        self._most_leaving = 0 if device == "cpu" else batch
        self._window_start = self._received = self._offset = 0
        self._sum = torch.zeros(len(network.sources), 2, self._segment, device=device)
        self._weight_sum = torch.zeros(self._segment, device=device)
        half = self._segment // 2
        rise = torch.arange(1, half + 1, device=device)
        fall = torch.arange(self._segment - half, 0, -1, device=device)
        triangle = torch.cat([rise, fall])
        self._triangle = triangle / triangle.max()

    def push(self, mix: torch.Tensor) -> torch.Tensor:
        self._arrived.append(mix)
        self._received += mix.shape[-1]
        done = [torch.zeros(*self._sum.shape[:2], 0)]
        ahead = (self._batch - 1) * self._stride
        while self._received >= sum(self._span(self._offset + ahead, self._segment)):
            self._steps([self._segment] * self._batch)
            while len(self._leaving) > self._most_leaving:
                done.append(self._leaving.popleft()())
        return torch.cat(done, dim=-1)

    def flush(self) -> torch.Tensor:
        while self._offset < self._received:
            lefts = range(self._received - self._offset, 0, -self._stride)
            self._steps([min(self._segment, left) for left in lefts[: self._batch]])
        done = [torch.zeros(*self._sum.shape[:2], 0), *(arrived() for arrived in self._leaving)]
        self._leaving.clear()
        return torch.cat(done, dim=-1)

    def _valid_length(self, length: int) -> int:
        choose = getattr(self._network, "valid_length", None)
        return length if choose is None else int(choose(length))

    def _span(self, offset: int, length: int) -> tuple[int, int]:
        """Where the network's input for the segment at `offset` begins in the song, and its length."""
        valid = self._valid_length(length)
        return offset - (valid - length) // 2, valid

    def _steps(self, lengths: list[int]) -> None:
        """Runs the next segments, of these lengths."""
        self._window = torch.cat([self._window, *self._arrived], dim=-1)
        self._arrived = []
        inputs = [self._input(self._offset + i * self._stride, length) for i, length in enumerate(lengths)]
        left = iter(lengths)
        for mixes in _of_one_length(inputs):
            with torch.no_grad():
                results = self._forward(to_device(torch.stack(mixes), self._device))
            for stems, length in zip(results, left, strict=False):
                self._add(stems, length)

    def _input(self, offset: int, length: int) -> torch.Tensor:
        start, valid = self._span(offset, length)
        first, last = max(0, start), min(self._received, start + valid)
        heard = self._window[:, first - self._window_start : last - self._window_start]
        return functional.pad(heard, (first - start, start + valid - last))

    def _add(self, stems: torch.Tensor, length: int) -> None:
        """Fades a segment in; the frames that are final now leave."""
        final = min(self._stride, self._received - self._offset)
        skipped = (self._valid_length(length) - length) // 2
        stems = stems[..., skipped : skipped + length]
        self._sum[..., :length] += self._triangle[:length] * stems
        self._weight_sum[:length] += self._triangle[:length]
        self._leaving.append(leaving(self._sum[..., :final] / self._weight_sum[:final]))
        self._advance(final)

    def _advance(self, frames: int) -> None:
        for sums in (self._sum, self._weight_sum):
            sums[..., :-frames] = sums[..., frames:].clone()
            sums[..., -frames:] = 0
        self._offset += frames
        drop = max(0, self._offset - self._margin - self._window_start)
        self._window = self._window[:, drop:]
        self._window_start += drop


def _of_one_length(inputs: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Neighbours of one length together: what a network can take at once."""
    for _, same in groupby(inputs, key=lambda mix: mix.shape[-1]):
        yield list(same)
