"""Seconds and memory of the API's imports, each time in a process of its own: `python -m benchmarks.imports`.

What a server and a function on AWS Lambda load until they have opened a bucket and a cluster (nothing is sent
to either). Both are measured as in the images: with compiled Python, and without what only developers have.
Asked for: at most 1.0 s and 80 MiB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import machine, save

ROUNDS = 5
AS_IN_IMAGES = "import sys; sys.modules['rich'] = sys.modules['pydantic.v1'] = None\n"
"""structlog loads rich where a developer's tool has brought it, FastAPI pydantic.v1. No image has them."""
KUBECONFIG = json.dumps(
    {
        "current-context": "benchmark",
        "contexts": [{"name": "benchmark", "context": {"cluster": "benchmark", "user": "benchmark"}}],
        "clusters": [{"name": "benchmark", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "benchmark", "user": {"token": "none"}}],
    }
)
OPENED = """
from api.wiring import open_launcher
from contract.stores import open_store
open_store(settings.store)
open_launcher(settings)
"""
TEMPLATE = Path(__file__).parents[1] / "helm" / "stemjob" / "files" / "runner-job.yaml"
"""The chart always gives the API a template."""
STARTS = {
    "bare interpreter": "",
    "server, local launcher": "import api.__main__, api.launchers.local",
    "server, bucket and cluster": f"""
import api.__main__
from api.settings import ApiSettings
settings = ApiSettings()
{OPENED}""",
    "the same with a template": f"""
import os
import api.__main__
from api.settings import ApiSettings
os.environ["STEMJOB_JOB_TEMPLATE"] = {str(TEMPLATE)!r}
settings = ApiSettings()
{OPENED}""",
    "function on Lambda": f"""
import api.lambda_handler
settings = api.lambda_handler._settings()
{OPENED}""",
}
# VmHWM, not getrusage: that also counts what the process was before it became this one.
TOLD = """
import time
[peak] = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time(), int(peak) / 1024)
"""
SETTINGS = {
    "STEMJOB_STORE": "gs://benchmark/songs",
    "STEMJOB_LAUNCHER": "kubernetes",
    "STEMJOB_NAMESPACE": "benchmark",
    "STEMJOB_KUBECONFIG": KUBECONFIG,
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",  # no credentials are looked for
}


@contextmanager
def compiled() -> Iterator[dict[str, str]]:
    """An environment in which Python's compiled code is kept, as it is in the images, and nowhere else."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield environment


def cost(program: str, environment: Mapping[str, str]) -> list[float]:
    """CPU seconds from a process's start to its program's end, and its largest memory in MiB."""
    command = [sys.executable, "-c", AS_IN_IMAGES + program + TOLD]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(figure) for figure in done.stdout.split()]


def main(arguments: list[str] | None = None) -> None:
    """One table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(arguments).rounds
    table: dict[str, list[list[float]]] = {name: [] for name in STARTS}
    with compiled() as environment:
        for counts in range(rounds + 1):  # the first round compiles
            for name, program in STARTS.items():
                figures = cost(program, {**environment, **SETTINGS})
                if counts:
                    table[name].append(figures)
    print(f"{rounds} rounds, imports; {machine()}")
    print(f"{'':<32}{'CPU s':>8}{'most':>8}{'MiB':>8}")
    for name, rows in table.items():
        seconds, memory = zip(*rows, strict=True)
        print(f"{name:<32}{statistics.median(seconds):>8.2f}{max(seconds):>8.2f}{max(memory):>8.1f}")
    save("imports", {"starts": {name: {"cpu_s_and_mib": rows} for name, rows in table.items()}})


if __name__ == "__main__":
    main()
