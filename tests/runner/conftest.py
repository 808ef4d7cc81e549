"""What the runner's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import torch

from contract.job import JobSpec
from runner import attempt, last_words
from tests.runner.jobs import JOB_ID, Job
from tests.runner.separated import Separate, separator_of_songs
from tests.runner.tiny_models import save_tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the weights of an untrained network, made once."""
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """For tests of code that sets torch's threads and kernels, which are the whole process's."""
    threads = torch.get_num_threads()
    precision, fast_path = torch.get_float32_matmul_precision(), torch.backends.mha.get_fastpath_enabled()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.backends.mha.set_fastpath_enabled(fast_path)


@pytest.fixture
def job(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A job that `attempt.run()` works on in this process; nothing of its work is left at the end."""
    made = Job(tmp_path, tiny_model)
    spec = JobSpec(job_id=JOB_ID, store=made.store_url, report=f"file://{made.report_file}")
    settings = {
        "STEMJOB_MODELS": f"{tiny_model},htdemucs,/no/such/model",
        "STEMJOB_WORK_DIR": str(made.work_dir),
    }
    for name, value in {**spec.to_env(), **settings, "STEMJOB_THREADS": "1", "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(attempt, "configure_logs", lambda *_: None)
    yield made
    structlog.contextvars.clear_contextvars()
    assert made.leftovers() == []


@pytest.fixture
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty file, as a kubelet puts it into a container."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(last_words, "TERMINATION_LOG", path)
    return path


@pytest.fixture
def no_caches_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def separate(tmp_path: Path, tiny_model: Path) -> Separate:
    """Runs the pipeline on samples, see `separator_of_songs`."""
    return separator_of_songs(tmp_path, tiny_model)
