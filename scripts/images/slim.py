"""Deletes from an environment what stemjob never uses, and says what each part weighed.

Run by the environment's own interpreter. What is linked by torch's libraries stays, used or not: the program
would not start without it.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

UNUSED = {
    # Compiles kernels for torch.compile, which a job that runs once for seconds has no use for.
    "triton": ("triton", "triton-*.dist-info"),
    # Solves systems of equations; loaded by torch at the first call of torch.linalg on a GPU.
    "cusolver": (
        *("nvidia/cu13/lib/libcusolver*", "nvidia_cusolver*.dist-info", "torch/lib/libtorch_cuda_linalg.so"),
    ),
    # Loaded only by profilers and debuggers.
    "profilers": (
        *("nvidia/cu13/lib/libnvperf_*", "nvidia/cu13/lib/libcheckpoint.so"),
        "nvidia/cu13/lib/libpcsamplingutil.so",
    ),
    # Between several GPUs or machines; libnvshmem_host.so itself is linked by torch.
    "transports": ("nvidia/nvshmem/lib/nvshmem_*", "nvidia/nvshmem/lib/*.bc"),
    # To build programs against these libraries.
    "headers": (
        *("torch/include", "torch/share", "torch/bin/protoc*", "nvidia/*/include", "nvidia/cu13/cccl"),
        *("nvidia/*/lib/*.a", "numpy/_core/include", "numpy/**/*.a"),
    ),
    # Decodes files for demucs.api, which the runner does not use: it reads with soundfile.
    "sphn": ("sphn", "sphn*.libs", "sphn-*.dist-info"),
    # Loaded by FastAPI only to refuse such models; it does without where they are missing.
    "pydantic.v1": ("pydantic/v1",),
    # The asynchronous twin of the client, and what only that needs.
    "kubernetes.aio": (
        *("kubernetes/aio", "aiohttp*", "aiohappyeyeballs*", "aiosignal*", "frozenlist*"),
        *("multidict*", "propcache*", "yarl*"),
    ),
    # The client imports a group when it is asked for; Jobs and pods are in `batch` and `core`.
    "kubernetes groups": tuple(
        f"kubernetes/client/api/{group}_*.py"
        for group in (
            *("admissionregistration", "apiextensions", "apiregistration", "apps", "autoscaling"),
            *("certificates", "discovery", "flowcontrol_apiserver", "internal_apiserver", "networking"),
            *(
                "node",
                "policy",
                "rbac_authorization",
                "resource",
                "scheduling",
                "storage",
                "storagemigration",
            ),
        )
    ),
    "tests": tuple(
        f"{package}/**/tests"
        for package in ("joblib", "networkx", "numba", "numpy", "scipy", "sklearn", "sympy")
    ),
}
"""What can go, and where it lies in site-packages."""


def weight(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    if path.is_dir() and not path.is_symlink():
        return sum(weight(child) for child in path.iterdir())
    return path.lstat().st_size


def remove(path: Path) -> int:
    """Deletes a file or a folder. How many bytes that was."""
    size = weight(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    return size


def main(site: Path) -> None:
    """Deletes all of it. What an environment does not have costs nothing."""
    for what, patterns in UNUSED.items():
        found = [path for pattern in patterns for path in sorted(site.glob(pattern))]
        size = sum(remove(path) for path in found if path.exists() or path.is_symlink())
        print(f"without {what}: {size / 1e6:.0f} MB less", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sysconfig.get_path("purelib")))
