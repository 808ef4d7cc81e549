"""What the runner's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.runner.tiny_models import save_tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the weights of an untrained network, made once."""
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """For tests of code that sets the number of torch's threads, which is the whole process's."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
