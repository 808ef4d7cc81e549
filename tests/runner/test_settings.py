"""The runner's settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from runner.settings import RunnerSettings, available_cpus


def test_every_setting_is_described() -> None:
    assert all(field.description for field in RunnerSettings.model_fields.values())


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMJOB_MODELS", " auto, /weights/own.safetensors ,")
    monkeypatch.setenv("STEMJOB_THREADS", "3")
    monkeypatch.setenv("STEMJOB_DSP", "reference")
    monkeypatch.setenv("STEMJOB_WORK_DIR", "")
    settings = RunnerSettings()
    assert settings.models == ("auto", "/weights/own.safetensors")
    assert (settings.threads, settings.dsp, settings.work_dir) == (3, "reference", None)


@pytest.mark.parametrize(("name", "value"), [("THREADS", "0"), ("DEVICE", "tpu"), ("DSP", "fast")])
def test_a_value_that_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"STEMJOB_{name}", value)
    with pytest.raises(ValidationError):
        RunnerSettings()


def limits(folder: Path, files: dict[str, str]) -> int:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return available_cpus(folder)


@pytest.fixture
def sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))


@pytest.mark.usefixtures("sixteen_cpus")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "9900000 100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
    ],
)
def test_threads_follow_the_container_s_limit(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert limits(tmp_path, files) == expected
