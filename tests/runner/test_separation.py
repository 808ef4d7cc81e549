"""The segment loop against demucs' own."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from demucs.apply import BagOfModels, apply_model

from contract.tracks import Track
from runner import device, processor
from runner.separation import STEMS, MixStatistics, Separator
from runner.settings import Device, Precision, RunnerSettings
from runner.waveform import Block
from tests.runner.signals import music
from tests.runner.tiny_models import SOURCES, full_size, tiny_bag, tiny_demucs, tiny_hdemucs, tiny_htdemucs

MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "htdemucs": tiny_htdemucs,
    "htdemucs without training length": lambda: tiny_htdemucs(use_train_segment=False),
    "htdemucs without bottom channels": lambda: tiny_htdemucs(bottom_channels=0),
    "htdemucs with layers for each band": lambda: tiny_htdemucs(multi_freqs=[0.5], multi_freqs_depth=1),
    "hdemucs": tiny_hdemucs,
    "demucs": tiny_demucs,
    "bag": tiny_bag,
    "bag of one": lambda: BagOfModels([tiny_htdemucs()]),
    "other order": lambda: tiny_htdemucs(sources=["vocals", "other", "drums", "bass"]),
}


def noise(frames: int, seed: int = 0) -> Block:
    generator = np.random.default_rng(seed)
    return (0.3 * generator.standard_normal((2, frames)) + 0.05).astype(np.float32)


def normalisation(song: Block) -> tuple[float, float]:
    statistics = MixStatistics()
    statistics.push(song)
    return statistics.result()


def separated(model: torch.nn.Module, song: Block, block_frames: int, *, plain: bool = True) -> Block:
    separator = Separator(model, "cpu", *normalisation(song), plain=plain)
    starts = range(0, song.shape[1], block_frames)
    results = [separator.push(song[:, start : start + block_frames]) for start in starts]
    return np.concatenate([*results, separator.flush()], axis=2)


def by_demucs(model: Any, song: Block) -> Block:
    mean, std = (torch.tensor(number) for number in normalisation(song))
    mix = ((torch.from_numpy(song) - mean) / std)[None]
    stems = (apply_model(model, mix, shifts=0, split=True, overlap=0.25) * std + mean)[0]
    sources = list(model.sources)
    return np.stack([stems[sources.index(stem)].numpy() for stem in STEMS])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("segments", [0.001, 0.4, 0.7499, 0.75, 1.0, 1.0001, 1.5, 1.7501, 3.3])
def test_a_stream_gives_bit_for_bit_what_apply_model_gives(name: str, segments: float) -> None:
    model = MODELS[name]()
    length = float(getattr(model, "segment", 0.25))
    song = noise(max(1, round(segments * length * 44_100)))
    expected = by_demucs(model, song)
    assert np.array_equal(separated(model, song, 10_007), expected)
    assert np.abs(expected).max() > 0


@pytest.mark.parametrize("block_frames", [997, 8268, 8269, 11_025, 1_000_000])
def test_the_size_of_the_blocks_does_not_matter(block_frames: int) -> None:
    song = noise(40_000)
    assert np.array_equal(separated(tiny_bag(), song, block_frames), by_demucs(tiny_bag(), song))


@pytest.mark.parametrize("name", ["htdemucs", "demucs", "bag"])
def test_segments_taken_together_give_the_same(name: str) -> None:
    model = MODELS[name]()
    song = noise(45_000)
    separator = Separator(model, "cpu", *normalisation(song), batch=3, plain=True)
    parts = [separator.push(song[:, start : start + 7001]) for start in range(0, song.shape[1], 7001)]
    stems = np.concatenate([*parts, separator.flush()], axis=2)
    assert signal_to_error_db(separated(model, song, 7001), stems) > 110


@pytest.mark.parametrize("frames", [45_000, 3_000])
def test_segments_computed_side_by_side_are_those_computed_in_turns(frames: int) -> None:
    song = noise(frames)

    def stems(batch: int) -> Block:
        separator = Separator(tiny_bag(), "cpu", *normalisation(song), batch=batch)
        parts = [separator.push(song[:, start : start + 7001]) for start in range(0, frames, 7001)]
        return np.concatenate([*parts, separator.flush()], axis=2)

    assert signal_to_error_db(stems(1), stems(2)) > 110
    assert np.array_equal(stems(2), stems(2))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("frames", [45_000, 3_000, 0])
def test_segments_that_leave_while_the_next_are_computed_are_the_same(frames: int, batch: int) -> None:
    """As on a GPU."""
    song = noise(frames)

    def stems(most_leaving: int) -> tuple[Block, list[int]]:
        separator = Separator(tiny_bag(), "cpu", *normalisation(song), batch=batch)
        for stream in separator._streams:
            stream._most_leaving = most_leaving
        parts = [separator.push(song[:, start : start + 7001]) for start in range(0, frames, 7001)]
        return np.concatenate([*parts, separator.flush()], axis=2), [part.shape[2] for part in parts]

    (expected, at_once), (result, later) = stems(0), stems(batch)
    assert np.array_equal(result, expected)
    assert sum(later) < sum(at_once) or sum(at_once) == 0


@pytest.mark.parametrize(
    ("threads", "shares"), [(1, [1]), (2, [1, 1]), (2, [2]), (5, [2, 2]), (5, [5]), (8, [4, 4])]
)
def test_segments_side_by_side_share_the_threads_and_one_alone_has_all(
    threads: int, shares: list[int], restored_threads: None
) -> None:
    torch.set_num_threads(threads)
    both = threading.Barrier(len(shares), timeout=60)

    def forward(mix: torch.Tensor) -> torch.Tensor:
        both.wait()  # else one thread might take both
        return mix * 0 + torch.get_num_threads()

    [batch] = device.batches("cpu")
    counted = device.side_by_side(forward, batch)(torch.zeros(len(shares), 2, 3))
    assert sorted(counted[:, 0, 0].int().tolist()) == shares
    assert torch.get_num_threads() == threads


def test_what_fails_in_one_segment_fails_the_whole() -> None:
    def forward(_: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(MemoryError):
        device.side_by_side(forward, 2)(torch.zeros(2, 2, 3))


@pytest.mark.parametrize("name", ["htdemucs", "hdemucs", "bag"])
def test_fast_is_close(name: str) -> None:
    song = noise(20_000)
    separator = Separator(MODELS[name](), "cpu", *normalisation(song), precision=Precision.FAST)
    stems = np.concatenate([separator.push(song), separator.flush()], axis=2)
    exact = separated(MODELS[name](), song, 20_000)
    assert 20 < signal_to_error_db(exact, stems) < 90
    assert stems.dtype == np.float32


def test_the_default_is_as_exact_as_float32(restored_threads: None) -> None:
    """Also where the processor multiplies 16 bits in hardware, and torch would be allowed to use them."""
    torch.set_float32_matmul_precision("highest")
    song = noise(30_000)
    expected = separated(tiny_htdemucs(), song, 30_000)
    device.prepare(RunnerSettings(device=Device.CPU, threads=1))
    result = separated(tiny_htdemucs(), song, 30_000, plain=False)
    assert signal_to_error_db(expected, result) > 100


@pytest.mark.parametrize("name", MODELS)
def test_faster_layers_are_equal_to_those_of_demucs_for_every_class_of_network(name: str) -> None:
    model = MODELS[name]()
    song = noise(30_000)
    expected = by_demucs(model, song)
    assert signal_to_error_db(expected, separated(model, song, 30_000, plain=False)) > 100


def test_in_full_size_they_are_as_exact_on_music_that_ends(restored_threads: None) -> None:
    """Rows a hundred times as long as those of the tiny networks, most of whose numbers are the same."""
    device.prepare(RunnerSettings(device=Device.CPU, threads=1))
    model = full_size()
    song = np.zeros((2, round(7.8 * 44_100)), np.float32)
    song[:, :20_000] = 0.3 * music(20_000)
    expected = separated(model, song, 30_000)
    assert signal_to_error_db(expected, separated(model, song, 30_000, plain=False)) > 110


def test_fast_is_float32_where_the_processor_lacks_instructions_for_16_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bfloat16 it would take twice as long as in float32 there."""
    monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: False)
    assert device.feasible(Precision.FAST, "cpu") is Precision.FLOAT32
    assert device.feasible(Precision.FAST, "cuda") is Precision.FAST
    monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: True)
    assert device.feasible(Precision.FAST, "cpu") is Precision.FAST
    assert device.feasible(Precision.FLOAT32, "cpu") is Precision.FLOAT32


@pytest.mark.parametrize("intel", [True, False])
def test_onednn_multiplies_where_the_blas_is_not_made_for_the_processor(
    intel: bool, monkeypatch: pytest.MonkeyPatch, restored_threads: None
) -> None:
    torch.set_float32_matmul_precision("highest")
    monkeypatch.setattr(processor, "is_of_intel", lambda: intel)
    monkeypatch.setattr(device, "_EXACT", 1.0)  # whatever this processor makes of it
    device.prepare(RunnerSettings(device=Device.CPU, threads=1))
    assert torch.get_float32_matmul_precision() == ("highest" if intel else "medium")


def signal_to_error_db(signal: Block, other: Block) -> float:
    error = np.square(signal.astype(np.float64) - other).sum()
    return float(10 * np.log10(np.square(signal.astype(np.float64)).sum() / max(error, 1e-300)))


def test_stems_come_in_one_order_whatever_the_order_of_the_network() -> None:
    song = noise(5000)
    swapped = tiny_htdemucs(sources=list(reversed(SOURCES)))
    stems = separated(swapped, song, 5000)
    mean, std = normalisation(song)
    raw = (apply_model(swapped, ((torch.from_numpy(song) - mean) / std)[None], shifts=0) * std + mean)[0]
    assert np.array_equal(stems[STEMS.index(Track.VOCALS)], raw[0].numpy())
    assert np.array_equal(stems[STEMS.index(Track.DRUMS)], raw[3].numpy())


def test_no_audio_gives_no_stems() -> None:
    separator = Separator(tiny_htdemucs(), "cpu", 0.0, 1e-8)
    assert separator.flush().shape == (4, 2, 0)


def test_silence_gives_finite_stems() -> None:
    silence = np.zeros((2, 20_000), np.float32)
    assert np.abs(separated(tiny_htdemucs(), silence, 4096)).max() < 1e-6


def test_the_stream_is_not_changed() -> None:
    song = noise(20_000)
    before = song.copy()
    separated(tiny_htdemucs(), song, 4096)
    assert np.array_equal(song, before)


def test_the_state_does_not_grow_with_the_song() -> None:
    separator = Separator(tiny_htdemucs(), "cpu", 0.0, 1.0)

    def state_bytes() -> int:
        tensors = [*separator._waiting]
        for stream in separator._streams:
            tensors += [value for value in vars(stream).values() if isinstance(value, torch.Tensor)]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    sizes = []
    for number in range(12):
        separator.push(noise(8268, seed=number))
        sizes.append(state_bytes())
    assert max(sizes[4:]) == max(sizes)
    assert max(sizes[8:]) <= max(sizes[4:8])


def test_statistics_of_blocks_equal_those_of_the_whole() -> None:
    song = noise(100_003) * np.linspace(0, 1, 100_003, dtype=np.float32)
    statistics = MixStatistics()
    for start in range(0, song.shape[1], 7001):
        statistics.push(song[:, start : start + 7001])
    mono = song.mean(axis=0).astype(np.float64)
    mean, std = statistics.result()
    assert mean == np.float32(mono.mean())
    assert std == np.float32(mono.std(ddof=1)) + np.float32(1e-8)


@pytest.mark.parametrize("frames", [0, 1])
def test_statistics_of_next_to_nothing_are_finite(frames: int) -> None:
    statistics = MixStatistics()
    statistics.push(noise(frames))
    mean, std = statistics.result()
    assert np.isfinite(mean)
    assert std == np.float32(1e-8)
