"""On what the network computes: device, threads, number format. The only module that calls CUDA."""

import os
import random

import torch

from contract.failures import FailureCode, JobFailed
from runner.settings import Device, RunnerSettings


def prepare(settings: RunnerSettings) -> str:
    """Sets torch up for this process and says on which device to work: `cpu` or `cuda`.

    As repeatable as the device can be: fixed seeds, no choice of kernels by timing, full float32.

    Raises:
        JobFailed: runner_error when a GPU is demanded and there is none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may differ from run to run
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    random.seed(0)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if settings.device is Device.CPU:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if settings.device is Device.CUDA:
        raise JobFailed(FailureCode.RUNNER_ERROR, "The runner is set to use a GPU, but it has none.")
    return "cpu"


def describe(device: str) -> str:
    """`cpu`, or `cuda: ` and the name of the GPU."""
    return device if device == "cpu" else f"cuda: {torch.cuda.get_device_name()}"


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether this is the GPU's memory that has run out."""
    return isinstance(error, torch.OutOfMemoryError)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is memory of either kind that has run out; torch has no type of its own for the CPU's."""
    if isinstance(error, MemoryError) or is_out_of_gpu_memory(error):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free_gpu_memory() -> None:
    """Gives what is no longer used back to the GPU."""
    torch.cuda.empty_cache()
