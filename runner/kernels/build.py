"""Compiles the kernels for each kind of processor: `python runner/kernels/build.py`.

Whatever installs the runner does this; `make` does it again when a kernel changes. The compiler is the clang
within Zig, which comes as a Python package and needs nothing of the machine.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent

_AVX2 = "x86_64_v2+avx2+fma"
_AVX512 = f"{_AVX2}+avx512f+avx512bw+avx512dq+avx512vl"
KINDS = {
    "x86_64": {
        "default": "x86_64_v2",
        "avx2": _AVX2,
        "avx512": _AVX512,
        "avx512_bf16": f"{_AVX512}+avx512bf16",
    },
    "aarch64": {"default": "generic"},
}
"""By architecture the kinds of processor that torch tells apart, and one more; what each can do at least."""

_ARCHITECTURES = {"AMD64": "x86_64", "arm64": "aarch64"}
"""Other names of theirs."""
# They need memcpy and memset, which every process has: on Linux no library, be it of glibc or musl.
_SYSTEMS = {"Linux": ("linux-gnu", ["-nostdlib"]), "Darwin": ("macos", [])}

_FLAGS = ["-std=c17", "-O3", "-ffreestanding", "-fno-math-errno", "-g0", "-fPIC", "-shared"]
_FLAGS += ["-Wall", "-Wextra", "-Werror"]


def library(kind: str) -> Path:
    """Where the kernels for a kind of processor lie."""
    return FOLDER / f"{kind}.so"


def kinds() -> Mapping[str, str]:
    """Those of `KINDS` that are compiled on this machine."""
    return KINDS.get(_architecture(), {})


def _architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def compile_kernels() -> list[Path]:
    """Compiles all kernels for each kind of this machine's architecture; the libraries.

    One that is in use may be replaced: whoever has it keeps what it was.

    Raises:
        SystemExit: the machine is of a kind that nobody has tried, a kernel is wrong.
    """
    machine, system = platform.machine(), platform.system()
    architecture = _architecture()
    if architecture not in KINDS or system not in _SYSTEMS:
        raise SystemExit(
            f"stemjob's kernels are made for Linux and macOS on x86-64 and ARM, not {system} on {machine}."
        )
    abi, options = _SYSTEMS[system]
    sources = sorted(FOLDER.glob("*.c"))
    with tempfile.TemporaryDirectory() as place:
        for kind, features in kinds().items():
            made = Path(place) / kind
            _compile(["-target", f"{architecture}-{abi}", f"-mcpu={features}", *options], sources, made)
            beside = library(f".{kind}-{os.getpid()}")
            shutil.copyfile(made, beside)
            beside.replace(library(kind))
    return [library(kind) for kind in kinds()]


def _compile(options: list[str], sources: list[Path], result: Path) -> None:
    """Without what differs from one build to the next, so that equal sources give equal bytes."""
    if importlib.util.find_spec("ziglang") is None:
        raise SystemExit("The kernels are compiled by the package ziglang, which is not installed.")
    command = [sys.executable, "-m", "ziglang", "cc", *options]
    command += [*_FLAGS, "-o", str(result), *map(str, sources)]
    cache = str(result.parent / "cache")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit("A kernel could not be compiled.")


if __name__ == "__main__":
    compile_kernels()
