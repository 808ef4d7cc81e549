"""Weights made ready for a quick start, by the command that operators call."""

import hashlib
import subprocess
import sys
from pathlib import Path

import torch
import yaml  # type: ignore[import-untyped]
from safetensors.torch import load_file

from runner.convert_weights import convert
from runner.weights import load_model
from tests.runner.test_weights import save_bag, save_pickled
from tests.runner.tiny_models import save_tiny, tiny_htdemucs


def sums(folder: Path) -> dict[str, str]:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_a_bag_of_pickles_becomes_float32_safetensors_of_the_same_name(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    save_bag(old, "htdemucs", ["955717e8", "12345678"])
    weights = [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]
    definition = {"models": ["955717e8", "12345678"], "weights": weights, "segment": 0.2}
    (old / "htdemucs.yaml").write_text(yaml.safe_dump(definition))
    save_pickled(old, "955717e8")
    save_pickled(old, "12345678")

    files = convert("htdemucs", new, old)

    assert [file.name for file in files] == ["955717e8.safetensors", "12345678.safetensors"]
    assert sums(new) == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert yaml.safe_load((new / "htdemucs.yaml").read_text()) == definition
    assert {tensor.dtype for tensor in load_file(files[0]).values()} == {torch.float32}
    before, after = load_model("htdemucs", old), load_model("htdemucs", new)
    assert after.sample_rate == before.sample_rate
    assert list(after.model.weights) == weights  # type: ignore[arg-type]
    for one, other in zip(before.model.models, after.model.models, strict=True):  # type: ignore[arg-type]
        assert one.segment == other.segment == 0.2
        assert one.state_dict().keys() == other.state_dict().keys()
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_the_command_adds_to_what_a_folder_lists(tmp_path: Path) -> None:
    """Twice the same model, and another beside it; what was there is listed still."""
    source = save_tiny(tmp_path / "own.safetensors")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  another.th\n")
    for _ in range(2):
        command = [sys.executable, "-m", "runner.convert_weights", str(source), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"{folder / 'own.safetensors'}\n"), done.stderr
    assert list(sums(folder)) == ["another.th", "own.safetensors"]
    loaded = load_model("own", folder).model.state_dict()
    for name, tensor in tiny_htdemucs().state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runner.convert_weights", "/no/such.th", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "convert_weights: The weights of the model /no/such.th are not on this machine"
    )
