"""Who may import whom, and that each side installs and works without the other."""

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "demucs", "librosa", "numpy", "scipy", "soundfile", "soxr", "pyloudnorm"}


def test_nobody_else_claims_our_package_names() -> None:
    owners = packages_distributions()

    # An editable install of ours does not list its packages; a stranger's would show in any case.
    for name in ("api", "runner", "contract"):
        assert set(owners.get(name, ())) <= {"stemjob"}


def test_the_api_loads_no_audio_library_and_no_client_that_it_may_not_need() -> None:
    program = "import sys, api.__main__, api.lambda_handler, api.launchers.local; print(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()

    assert "mangum" in printed
    assert HEAVY & set(printed) == set()
    assert {"kubernetes", "google.cloud.storage", "awscrt", "urllib3"} & set(printed) == set()


def test_a_way_into_a_cluster_needs_none_of_its_client_s_models() -> None:
    """They take half a second and 24 MiB of each start, on Lambda too."""
    program = (
        "import sys, api.launchers.kubernetes\n"
        "from api.launchers.kubernetes.template import load_template\n"
        "load_template(None); print(*sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()

    assert "kubernetes.client.api_client" in printed
    assert [name for name in printed if name.startswith("kubernetes.client.models.")] == []
    assert [name for name in printed if name.startswith("kubernetes.client.api.")] == []


def test_the_runner_loads_no_web_framework_and_no_slow_reference() -> None:
    program = (
        "import sys, numpy, runner.__main__, runner.attempt, runner.pipeline\n"
        "from runner import hpss, loudness\n"
        "song = numpy.ones((2, 20_000), numpy.float32)\n"
        "for each in (hpss.Hpss(2), loudness.Meter(44_100, 2)): each.push(song)\n"
        "print(*sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()

    assert "torch" in printed
    assert {"fastapi", "starlette", "uvicorn"} & set(printed) == set()
    assert {"librosa", "pyloudnorm", "numba", "scipy"} & set(printed) == set()


def install(folder: Path, extra: str) -> Path:
    """A fresh environment with just one side of stemjob; the interpreter's path."""
    uv = Path(sys.executable).with_name("uv")
    python = folder / "venv" / "bin" / "python"
    quiet: dict[str, object] = {"check": True, "cwd": REPOSITORY, "capture_output": True}
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], **quiet)  # type: ignore[call-overload]
    subprocess.run(  # type: ignore[call-overload]
        [uv, "pip", "install", "--quiet", "--python", python, "-c", "constraints.txt", f".[{extra}]"], **quiet
    )
    return python


def test_the_api_alone_serves(tmp_path: Path) -> None:
    python = install(tmp_path, "api")
    process = subprocess.Popen(
        [python, "-m", "api"],
        cwd=tmp_path,
        env={**os.environ, "PORT": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        announced = next(line for line in process.stderr if line.startswith("stemjob serves on "))
        health = subprocess.run(
            [
                python,
                "-c",
                "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())",
                announced.split()[-1] + "/health",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        process.terminate()
        process.communicate()

    assert health.stdout.strip() == '{"status":"healthy","version":"1.0.0","pipeline_stages":4}'
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode != 0


@pytest.mark.timeout(900)
def test_the_runner_alone_runs(tmp_path: Path) -> None:
    python = install(tmp_path, "runner")
    program = "import importlib.util as u, runner.pipeline as p; print(u.find_spec('fastapi'), p.__file__)"
    checked = subprocess.run(
        [python, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    ended = subprocess.run(
        [python, "-m", "runner"],
        cwd=tmp_path,
        env={"STEMJOB_JOB_ID": "nobody", "STEMJOB_JOB_STORE": f"file://{tmp_path}/store"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.stdout.startswith(f"None {tmp_path}")
    assert ended.returncode == 0, ended.stderr  # a job that does not exist (any more) is nothing to do
