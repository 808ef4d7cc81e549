"""What a song is refused for, and what is done where a device cannot do what it was asked for."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from contract.failures import FailureCode, JobFailed
from contract.stages import StageName
from contract.tracks import OutputFormat, Track
from runner import analysis, device, pipeline, processor
from runner.gpu.hpss import GpuHpss
from runner.gpu.loudness import GpuMeter
from runner.pipeline import NO_BFLOAT16, NO_GPU_MEMORY, bytes_needed
from runner.separation import Separator
from runner.settings import Device, RunnerSettings
from tests.runner.separated import Separate, read
from tests.runner.signals import music
from tests.runner.test_separation import signal_to_error_db

pytestmark = pytest.mark.usefixtures("restored_threads")


@pytest.mark.parametrize("fits", [(device.GPU_BATCH, "cuda"), (1, "cuda"), (1, "cpu")])
def test_without_gpu_memory_smaller_batches_do_it_and_then_the_cpu(
    separate: Separate,
    monkeypatch: pytest.MonkeyPatch,
    fits: tuple[int, str],
    restored_threads: None,
) -> None:
    """What happens on a GPU, played on the CPU: separators before `fits` are out of memory in mid-song.

    Stages two and three are played by what a GPU computes.
    """
    song = music(20_000)
    expected = separate(song).tracks
    asked: list[tuple[int, str]] = []

    def separator(model: Any, on: str, mean: float, std: float, *, batch: int, **how: Any) -> Any:
        asked.append((batch, on))
        how["plain"] |= on == "cuda"  # whose layers are demucs' own
        made = Separator(model, "cpu", mean, std, batch=batch, **how)
        if asked[-1] != fits:
            monkeypatch.setattr(made, "flush", lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
        return made

    def prepare(settings: RunnerSettings) -> str:
        torch.set_float32_matmul_precision("high")
        return "cuda"

    monkeypatch.setattr(pipeline, "Separator", separator)
    monkeypatch.setattr(analysis, "GpuHpss", lambda channels, on: GpuHpss(channels, "cpu"))
    monkeypatch.setattr(analysis, "GpuMeter", lambda rate, channels, on: GpuMeter(rate, channels, "cpu"))
    monkeypatch.setattr(device, "helpers", lambda on, threads: ThreadPoolExecutor(3))
    monkeypatch.setattr(device, "prepare", prepare)
    monkeypatch.setattr(device, "describe", lambda on: on)
    result = separate(song).finished
    assert (torch.get_float32_matmul_precision() == "high") == (fits[1] == "cuda")
    order = [(device.GPU_BATCH, "cuda"), (1, "cuda"), (1, "cpu")]
    assert asked == order[: order.index(fits) + 1]
    assert result.device == fits[1]
    assert result.warnings == ((NO_GPU_MEMORY,) if fits[1] == "cpu" else ())
    tried = [f"out of GPU memory with {batch} segments at once" for batch, _ in asked[:-1]]
    assert list(result.fallback) == tried
    for track, written in result.files.items():
        assert signal_to_error_db(expected[track], read(written.file.path)) > 100


def test_memory_that_a_helper_lacks_at_the_very_end_undoes_no_stage_that_was_reported(
    separate: Separate, monkeypatch: pytest.MonkeyPatch, restored_threads: None
) -> None:
    song = music(60_000)
    expected = separate(song).tracks
    failures = [torch.OutOfMemoryError("CUDA"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")]

    class Failing(GpuHpss):
        def flush(self) -> Any:
            if failures:
                raise failures.pop(0)
            return super().flush()

    def separator(model: Any, on: str, mean: float, std: float, *, plain: bool, **how: Any) -> Any:
        return Separator(model, "cpu", mean, std, plain=True, **how)

    monkeypatch.setattr(pipeline, "Separator", separator)
    monkeypatch.setattr(analysis, "GpuHpss", lambda channels, on: Failing(channels, "cpu"))
    monkeypatch.setattr(analysis, "GpuMeter", lambda rate, channels, on: GpuMeter(rate, channels, "cpu"))
    monkeypatch.setattr(device, "helpers", lambda on, threads: ThreadPoolExecutor(3))
    monkeypatch.setattr(device, "prepare", lambda settings: "cuda")
    monkeypatch.setattr(device, "describe", lambda on: on)
    result = separate(song)
    assert len(result.finished.fallback) == 2
    assert result.finished.device == "cpu"
    for track in Track:
        assert signal_to_error_db(expected[track], result.tracks[track]) > 100
    ends: dict[StageName, Any] = {}
    for report in result.reports:
        for stage in report.stages:
            if stage.completed_at is not None:
                assert ends.setdefault(stage.name, stage.completed_at) == stage.completed_at
    assert len(ends) >= 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (MemoryError(), False),
    ],
)
def test_what_is_the_gpus_memory_and_what_is_not(error: Exception, expected: bool) -> None:
    assert device.is_out_of_gpu_memory(error) is expected


def test_fast_on_a_processor_without_16_bits_is_float32_and_the_manifest_says_so(
    separate: Separate, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = music(20_000)
    expected = separate(song)
    monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: False)
    result = separate(song, settings={"precision": "fast"})
    assert result.finished.fallback == (NO_BFLOAT16,)
    assert result.finished.warnings == expected.finished.warnings
    for track in Track:
        assert np.array_equal(result.tracks[track], expected.tracks[track])


def test_a_gpu_that_is_demanded_and_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(JobFailed, match="GPU"):
        device.prepare(RunnerSettings(device=Device.CUDA, threads=1))
    assert device.prepare(RunnerSettings(device=Device.AUTO, threads=1)) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.prepare(RunnerSettings(device=Device.AUTO, threads=1)) == "cuda"
    assert device.prepare(RunnerSettings(device=Device.CPU, threads=1)) == "cpu"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "htdemucs_ft"}, FailureCode.UNSUPPORTED_MODEL),
        ({"settings": {"max_duration_seconds": 0.5}}, FailureCode.DURATION_EXCEEDED),
    ],
)
def test_what_is_not_allowed_is_refused(
    separate: Separate, changes: dict[str, Any], code: FailureCode
) -> None:
    with pytest.raises(JobFailed) as caught:
        separate(music(30_000), **changes)
    assert caught.value.failure.code is code


def test_a_song_for_which_the_disk_is_too_small_is_refused_before_any_work(separate: Separate) -> None:
    song = music(30_000)
    spool, files = 6 * 4 * 60_000, 9 * 2 * 60_000
    uploaded = 4 * 60_000 + 4096  # lies in the same folder
    with pytest.raises(JobFailed, match="disk is too small") as caught:
        separate(song, settings={"disk_bytes": spool + files}, output_format="wav")
    assert caught.value.failure.code is FailureCode.DISK_FULL
    separate(song, settings={"disk_bytes": spool + files + uploaded}, output_format="wav")


def test_the_disk_s_free_space_counts_too(separate: Separate, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_000_000))
    with pytest.raises(JobFailed, match="disk is too small"):
        separate(music(30_000))


def test_no_file_takes_more_than_was_reckoned_with(separate: Separate) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 50_000)).astype(np.float32)
    for wanted in OutputFormat:
        files = separate(noise, output_format=wanted).finished.files.values()
        spool = 6 * 4 * noise.size
        headers = 9 * 16_384
        assert spool + sum(file.file.size for file in files) <= bytes_needed(50_000, 2, wanted) + headers


def test_a_song_of_just_the_longest_length_is_not_refused(separate: Separate) -> None:
    assert separate(music(22_050), settings={"max_duration_seconds": 0.5}).finished.frames == 22_050
