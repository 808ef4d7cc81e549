"""glibc keeps the memory that torch gives back: a fifth of a CPU's time per segment is page faults else."""

import ctypes
import platform

# malloc.h, mallopt(3)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TOP_PAD_BYTES = 256 << 20


def keep_memory() -> None:
    """Call before torch is loaded. Other C libraries than glibc are left alone.

    Freed memory then counts as this process's until it ends. A runner holds little that grows, so its peak
    stays what it was.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_ARENA_MAX, 1)  # else each thread keeps what it once needed
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    libc.mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)
