"""The compiled loops give the same numbers on every kind of processor, and say so where they are missing."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from runner import kernels
from runner.kernels import build
from tests.runner.signals import music

REPOSITORY = Path(__file__).resolve().parents[3]
TORCHS = torch.backends.cpu.get_cpu_capability().lower()
LESSER = {"avx512": ["avx512", "avx2", "default"], "avx2": ["default"]}
"""What a processor of a kind can do besides, as if it had no bfloat16."""
PROGRAM = """
import sys
import numpy as np
import torch
from demucs.demucs import DConv
from runner import processor
if sys.argv[3:]: processor.has_avx512_bf16 = lambda: False
from runner.audio_files import _quantise
from runner.hpss import Hpss
from runner.kernels import _KERNELS, rows
from runner.layers.attention import fastest_attention
from runner.layers.gate import gate
from runner.layers.overlap import overlap
from runner.layers.residual import FoldedResiduals
from runner.loudness import Meter
from runner.medians import medians_along, medians_down
song = np.load(sys.argv[1])
hpss, meter = Hpss(len(song)), Meter(44_100, len(song))
meter.push(song)
quantised = {bits: np.zeros(song.shape[::-1], np.int32) for bits in (16, 24)}
limited = [
    _quantise(*rows(song), *song.shape, 7.0, bits, samples.ctypes.data)
    for bits, samples in quantised.items()
]
torch.manual_seed(1)
# Neither channels nor moments fill any processor's registers.
residuals = FoldedResiduals(DConv(50, compress=7, init=0.3))
layer = torch.from_numpy(song[:, 9000 : 9000 + 50 * 331].reshape(2, 50, 331).copy())
gated, overlapped = torch.empty(2, 25, 331), torch.empty(5, 15, 331)
gate(layer, gated)
overlap(layer.view(2, 2, 5, 5, 331), None, torch.ones(5), overlapped, then_gelu=True)
heads = torch.from_numpy(song[:, : 64 * 331].reshape(1, 2, 331, 64).copy())
values = song[:, :160 * 1024].reshape(160, -1)
np.savez(
    sys.argv[2],
    library=_KERNELS._name,
    harmonic=np.concatenate([hpss.push(song), hpss.flush()], axis=1),
    loudness=meter.result().loudness,
    true_peak=meter.result().true_peak,
    limited=limited,
    quantised=np.stack(list(quantised.values())),
    residuals=residuals(layer),
    gated=gated,
    overlapped=overlapped,
    attended=fastest_attention(torch.float32)(heads, heads, heads),
    shortened=residuals(layer.bfloat16()).float(),
    down=medians_down(values[:, 5:1000]),
    along=medians_along(values[:37]),
)
"""


def computed(folder: Path, kind: str, *options: str) -> dict[str, NDArray[Any]]:
    """What a process that takes this for such a processor makes of some music."""
    np.save(folder / "song.npy", music(170_000))
    subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "song.npy", folder / f"{kind}.npz", *options],
        cwd=REPOSITORY,
        env={**os.environ, "ATEN_CPU_CAPABILITY": kind},
        check=True,
    )
    with np.load(folder / f"{kind}.npz") as results:
        return dict(results)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[Any]]:
    return computed(tmp_path_factory.mktemp("native"), TORCHS)


@pytest.mark.parametrize("kind", LESSER.get(TORCHS, []))
def test_a_lesser_processor_gives_the_same_numbers(
    kind: str, expected: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    found = computed(tmp_path, kind, "without bfloat16")

    assert str(found["library"]) == str(build.library(kind))
    np.testing.assert_array_equal(found["down"], expected["down"])
    np.testing.assert_array_equal(found["along"], expected["along"])
    np.testing.assert_allclose(found["harmonic"], expected["harmonic"], rtol=0, atol=2e-6)
    for layer in ("residuals", "gated", "overlapped", "attended"):
        np.testing.assert_allclose(found[layer], expected[layer], rtol=0, atol=5e-6)
    np.testing.assert_allclose(found["shortened"], expected["shortened"], rtol=0, atol=5e-3)
    np.testing.assert_array_equal(found["quantised"], expected["quantised"])
    np.testing.assert_array_equal(found["limited"], expected["limited"])
    assert found["limited"].min() > 0
    assert found["loudness"] == pytest.approx(expected["loudness"], abs=1e-9)
    assert found["true_peak"] == pytest.approx(expected["true_peak"], abs=1e-9)


def test_all_kinds_of_this_architecture_are_compiled() -> None:
    kinds = build.kinds()

    assert [kind for kind in kinds if not build.library(kind).is_file()] == []


def test_kernels_that_are_not_compiled_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernels, "library", lambda kind: tmp_path / f"{kind}.so")

    with pytest.raises(ImportError, match="kernels are not compiled"):
        kernels._load()


def test_a_kind_that_nothing_is_made_for_computes_as_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX1024")

    assert kernels._load()._name == str(build.library("default"))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), np.float64),
        np.zeros((4, 3), np.float32).T,
        np.zeros((3, 8), np.float32)[:, ::2],
        np.zeros(3, np.float32),
    ],
    ids=["float64", "columns", "every other", "one axis"],
)
def test_arrays_that_a_kernel_would_misread_are_refused(array: NDArray[np.float32]) -> None:
    with pytest.raises(AssertionError):
        kernels.rows(array)


def test_one_frame_of_two_channels_is_two_rows_however_it_lies() -> None:
    frame = np.array([[0.5, -0.25]], np.float32)

    for block in (frame.T, frame.T.copy()):
        _, stride = kernels.rows(block)
        assert block.T.reshape(-1)[stride] == np.float32(-0.25)


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Linux", "riscv64")])
def test_a_machine_that_nobody_has_tried_is_refused_with_a_sentence(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)

    with pytest.raises(SystemExit, match=f"Linux and macOS on x86-64 and ARM, not {system} on {machine}"):
        build.compile_kernels()
