"""Files and folders of weights as Demucs leaves them, and what loading them comes to."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml  # type: ignore[import-untyped]
from safetensors import safe_open

from contract.failures import FailureCode, JobFailed
from runner.weights import load_model
from tests.runner.tiny_models import HTDEMUCS, tiny_htdemucs


def failure_of(name: str, weights_dir: Path | None = None) -> tuple[FailureCode, str]:
    with pytest.raises(JobFailed) as caught:
        load_model(name, weights_dir)
    failure = caught.value.failure
    assert failure.error.endswith(".")
    assert "\n" not in failure.error
    return failure.code, failure.error


def save_pickled(folder: Path, signature: str, numbers: torch.dtype = torch.float32) -> Path:
    """A `.th` file with the checksum in its name, as Demucs' own `save_with_checksum` names it."""
    model = tiny_htdemucs()
    state = {name: tensor.to(numbers) for name, tensor in model.state_dict().items()}
    package = {"klass": type(model), "args": (), "kwargs": dict(HTDEMUCS), "state": state}
    temporary = folder / "new"
    torch.save(package, temporary)
    checksum = hashlib.sha256(temporary.read_bytes()).hexdigest()[:8]
    return temporary.rename(folder / f"{signature}-{checksum}.th")


def save_bag(folder: Path, name: str, signatures: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"models": signatures}))


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())
