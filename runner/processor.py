"""What kind of CPU this is, where that decides on how the network computes: from Linux's /proc/cpuinfo.

Elsewhere nothing is known, and the answers are those that at worst cost time.
"""

import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""The flags of x86's AVX-512 and AMX, and of ARM."""


def multiplies_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether it has instructions for products in bfloat16; without, these take twice float32's time."""
    return not _BFLOAT16.isdisjoint(_field(cpuinfo, "flags|Features").split())


def has_avx512_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether it multiplies pairs of bfloat16 in AVX-512's registers."""
    return "avx512_bf16" in _field(cpuinfo, "flags").split()


def has_amx(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether it multiplies whole tiles of bfloat16 at once (Intel's AMX)."""
    return "amx_bf16" in _field(cpuinfo, "flags").split()


def is_of_intel(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether Intel made it: torch's BLAS for x86 is Intel's, which is at its best there only."""
    return _field(cpuinfo, "vendor_id") == "GenuineIntel"


def _field(cpuinfo: Path, name: str) -> str:
    """What the first CPU's entry says under a name, empty where it says nothing."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return ""
    found = re.search(rf"^(?:{name})\s*: *(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
