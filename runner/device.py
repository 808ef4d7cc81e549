"""On what the network computes: device, threads, number format. The only module that calls CUDA."""

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Thread

import torch
from torch.nn import functional

from contract.failures import FailureCode, JobFailed
from runner import processor
from runner.layers import fit_gpu, replace_layers
from runner.layers.attention import fastest_attention
from runner.settings import Device, Precision, RunnerSettings

GPU_BATCH = 6
"""Segments that a GPU computes at once."""
GPU_HELPERS = 7
"""Threads beside it: as many as there are parts of a block, see `runner.analysis`."""
CPU_WORKERS = 2
"""Segments that a CPU computes at once, each on its share of the threads: these then need not wait for each
other at the end of every small operation. It takes 0.3 GiB more than one at a time."""
_EXACT = 1e-5
"""A relative error of a product of matrices that float32 stays below, and 16 bits do not."""

_NO_GPU_MEMORY = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)
"""What torch says where it is not its own allocator that finds none."""

Forward = Callable[[torch.Tensor], torch.Tensor]


def prepare(settings: RunnerSettings) -> str:
    """Sets torch up for this process and says on which device to work: `cpu` or `cuda`.

    As repeatable as the device can be: fixed seeds, no choice of kernels by timing. Float32 on a CPU (see
    `choose_cpu_kernels`); on a GPU TF32, whose products have 10 bits of mantissa and float32's range, and
    attention in float16, see `runner.layers.heads`.

    Raises:
        JobFailed: runner_error when a GPU is demanded and there is none.
    """
    _repeat_products()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    random.seed(0)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Demucs' attention by torch's own kernel is faster than nn.MultiheadAttention's special path.
    torch.backends.mha.set_fastpath_enabled(False)
    if settings.device is not Device.CPU:
        if torch.cuda.is_available():
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
            return "cuda"
        if settings.device is Device.CUDA:
            raise JobFailed(FailureCode.RUNNER_ERROR, "The runner is set to use a GPU, but it has none.")
    choose_cpu_kernels()
    return "cpu"


def wake(settings: RunnerSettings) -> None:
    """Has a GPU, if one is to be used, get ready beside all else: its first use takes seconds."""
    _repeat_products()
    if settings.device is not Device.CPU and torch.cuda.is_available():
        Thread(target=_use_once, name="wake", daemon=True).start()


def _repeat_products() -> None:
    """Else cuBLAS may differ from run to run. Read at its first use."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _use_once() -> None:
    """Loads the libraries for what the network computes; whatever is wrong with them shows when it does."""
    with suppress(RuntimeError), torch.device("cuda"):
        x = torch.ones(1, 8, 64)
        functional.conv1d(x, torch.ones(8, 8, 1))
        torch.fft.rfft(x @ x.transpose(1, 2))
        torch.cuda.synchronize()


def choose_cpu_kernels() -> None:
    """Lets torch multiply matrices by oneDNN, much faster than its BLAS on some CPUs, where that is float32.

    Not on Intel's, for which the BLAS is made: there the network took 8 % longer with oneDNN. torch's switch
    for it allows 16 bits as well. CPUs that multiply these in hardware then may do so, with an error at 40 to
    75 dB, others compute in float32 as before. So it is tried, on one product.
    """
    torch.set_float32_matmul_precision("highest")
    if processor.is_of_intel():
        return
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    error = float((a @ b - exact).norm() / exact.norm())
    if not error < _EXACT:
        torch.set_float32_matmul_precision("highest")


def feasible(precision: Precision, device: str) -> Precision:
    """The precision asked for, or float32 where `fast` would be the slower one."""
    if device == "cpu" and not processor.multiplies_bfloat16():
        return Precision.FLOAT32
    return precision


def in_precision(network: torch.nn.Module, device: str, precision: Precision, *, plain: bool) -> Forward:
    """The network computing in the numbers asked for; what comes out is float32. May change its layers.

    In float32 on a CPU it is equal to demucs' network to rounding, at least 100 dB; `plain` to the bit.
    """
    fast = precision is Precision.FAST
    # float16 has three more bits of mantissa, but CPUs compute in bfloat16.
    short = torch.bfloat16 if device == "cpu" else torch.float16
    if device != "cpu":
        if not plain:
            fit_gpu(network)
    elif fast or not plain:
        numbers = short if fast else torch.float32
        replace_layers(network, numbers, fastest_attention(numbers))

    def forward(mix: torch.Tensor) -> torch.Tensor:
        with ExitStack() as modes:
            if device != "cpu":  # what demucs makes on the CPU and then moves is made where it is needed
                modes.enter_context(torch.device(device))
            if fast:
                modes.enter_context(torch.autocast(device, short))
            result: torch.Tensor = network(mix).float()
            return result

    return forward


def batches(device: str) -> tuple[int, ...]:
    """How many segments to compute at once: first, and after the device's memory did not suffice."""
    return (workers(),) if device == "cpu" else (GPU_BATCH, 1)


def workers() -> int:
    """How many segments a CPU computes at once with the threads that torch has."""
    return min(CPU_WORKERS, torch.get_num_threads())


def use_threads(count: int) -> None:
    """Has torch use so many threads for what the calling thread asks of it."""
    torch.get_num_threads()  # before a thread's first work torch sets its number itself, to the last one set
    torch.set_num_threads(count)


def helpers(device: str, threads: int) -> ThreadPoolExecutor:
    """Threads to work beside the network: one where the CPU has that to do, else up to `threads`.

    On a GPU they have a queue of their own. What is theirs there must be made, used and left by them alone.
    """
    count = 1 if device == "cpu" else min(GPU_HELPERS, threads)
    stream = torch.cuda.Stream() if device != "cpu" else None  # type: ignore[no-untyped-call]

    def begin() -> None:
        use_threads(1)
        if stream:
            torch.cuda.set_stream(stream)

    return ThreadPoolExecutor(count, "analysis", begin)


def side_by_side(forward: Forward, count: int) -> Forward:
    """Takes up to `count` segments at once, each on a thread of its own with a share of torch's.

    One that is alone, as the last of a song may be, has all of them.
    """
    if count == 1:
        return forward
    # Equal shares: with how many threads a segment is computed shows in its last bits.
    pool = ThreadPoolExecutor(count, "segment", use_threads, (max(1, torch.get_num_threads() // count),))

    def one(mix: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return forward(mix)

    def together(mixes: torch.Tensor) -> torch.Tensor:
        if len(mixes) == 1:
            return one(mixes)
        return torch.cat(list(pool.map(one, torch.split(mixes, 1))))

    return together


def to_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """The tensor on the device; copied from pinned memory, which a GPU reads by itself."""
    if device == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def leaving(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Begins to copy the tensor to pinned memory of the CPU; what is returned waits for it and gives it."""
    if tensor.device.type == "cpu":
        return lambda: tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()

    def arrived() -> torch.Tensor:
        done.synchronize()
        return host

    return arrived


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in memory of the CPU, pinned where it comes from a GPU; complete when this returns."""
    return leaving(tensor)()


def describe(device: str) -> str:
    """`cpu`, or `cuda: ` and the name of the GPU."""
    return device if device == "cpu" else f"cuda: {torch.cuda.get_device_name()}"


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether this is the GPU's memory that has run out, of whatever library on it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _NO_GPU_MEMORY)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is memory of either kind that has run out; torch has no type of its own for the CPU's."""
    if isinstance(error, MemoryError) or is_out_of_gpu_memory(error):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free_gpu_memory() -> None:
    """Gives what is no longer used back to the GPU."""
    torch.cuda.empty_cache()
