"""What glibc does with memory that is given back, seen in a process of its own."""

import platform
import subprocess
import sys

import pytest

_PROBE = """
import sys, resource
from runner.allocator import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
import numpy as np
np.ones(1 << 24, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(1 << 24, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    ended = subprocess.run([sys.executable, "-c", _PROBE, how], capture_output=True, text=True, check=True)
    return int(ended.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_is_given_back_is_not_faulted_in_again() -> None:
    assert page_faults("kept") < 50 < page_faults("as ever")
