"""What the benchmarks leave beside their tables: JSON in the folder `benchmark-output`."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FOLDER = Path("benchmark-output")


def machine() -> str:
    """The machine in words: nothing that names this very one."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        cpu = next((value.strip() for name, _, value in lines if name.startswith("model name")), cpu)
    return f"{os.cpu_count()} CPUs ({cpu}), torch {torch.__version__}"


def save(name: str, results: Mapping[str, Any]) -> None:
    """Writes `benchmark-output/<name>.json` with the machine and its load, for those who compare."""
    FOLDER.mkdir(exist_ok=True)
    content = {"machine": machine(), "load": os.getloadavg(), **results}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
