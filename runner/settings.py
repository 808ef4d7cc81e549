"""What an operator can tune of a runner. Its job is not a setting: see `contract.job.JobSpec`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from contract.limits import DEFAULT_MAX_DURATION_SECONDS, DEFAULT_MODELS, split_names


class Dsp(StrEnum):
    """Which code computes HPSS and loudness, and whether the network's layers give way to equal ones."""

    STREAMING = "streaming"
    REFERENCE = "reference"


class Precision(StrEnum):
    """In which numbers the network computes."""

    FLOAT32 = "float32"
    FAST = "fast"


class Device(StrEnum):
    """On what the network computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class RunnerSettings(BaseSettings):
    """Read once at the start of a runner, from the environment."""

    model_config = SettingsConfigDict(env_prefix="STEMJOB_", frozen=True, env_ignore_empty=True)

    dsp: Dsp = Field(
        default=Dsp.STREAMING,
        description="`streaming` takes memory of fixed size; `reference` is librosa and pyloudnorm on the"
        " whole song, and Demucs' network as it is.",
    )
    precision: Precision = Field(
        default=Precision.FLOAT32,
        description="Numbers the network computes in: `float32` (on a GPU TF32, attention in float16), or"
        " `fast`: 16 bits, with an error about 44 dB below the sound; a CPU that is not known to have"
        " instructions for these stays with `float32`.",
    )
    threads: int = Field(
        default_factory=lambda: available_cpus(),
        ge=1,
        description="Threads for the network; by default the container's CPU limit, else the number of CPUs.",
    )
    device: Device = Field(
        default=Device.AUTO,
        description="`auto` takes an NVIDIA GPU where there is one, else the CPU; `cpu`; `cuda`.",
    )
    work_dir: Path | None = Field(
        default=None,
        description="Folder for a song's temporary files, about 250 MB per minute; by default the system's"
        " folder for such files.",
    )
    disk_bytes: int | None = Field(
        default=None,
        ge=1,
        description="What the temporary files of one song may take, in bytes: in a pod its limit of"
        " ephemeral-storage. The disk's free space counts in any case.",
    )
    weights_dir: Path | None = Field(
        default=None,
        description="Folder searched for weights before the network is: Demucs' `.th` or `.safetensors`"
        " files with their `.yaml`. A `SHA256SUMS` file there is enforced.",
    )
    max_duration_seconds: float = Field(
        default=DEFAULT_MAX_DURATION_SECONDS, gt=0, description="Longest accepted song in seconds."
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=DEFAULT_MODELS, description="Models that a job may ask for, separated by commas."
    )
    log_level: str = Field(default="INFO", description="The least important level that is logged.")

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, names: object) -> object:
        return split_names(names)


_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Whole CPUs this process may use: the container's limit, else those it may run on. At least 1.

    `cgroup` is the mounted hierarchy: v2 has `cpu.max`, v1 `cpu/cpu.cfs_quota_us` (kernel documentation,
    admin-guide/cgroup-v2 and cgroup-v1/cpusets).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cpu_limit(cgroup)
    return max(1, allowed if limit is None else min(allowed, int(limit)))


def _cpu_limit(cgroup: Path) -> float | None:
    """CPUs per period, None where there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None
