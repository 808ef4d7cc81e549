"""Files of weights that are not what they were: each is told as such, and none is used."""

import hashlib
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from contract.failures import FailureCode
from runner.weights import load_model
from tests.runner.tiny_models import HTDEMUCS, save_tiny
from tests.runner.weight_folders import failure_of, metadata_of, save_bag, save_pickled

pytestmark = pytest.mark.usefixtures("no_caches_and_no_network")


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_shape(path: Path) -> None:
    tensors, metadata = load_file(path), {"klass": "demucs.htdemucs.HTDemucs", "args": "[]"}
    arguments = {**HTDEMUCS, "segment": 0.25, "channels": 8}
    save_file(tensors, path, metadata={**metadata, "kwargs": json.dumps(arguments)})


def damage_metadata(path: Path) -> None:
    save_file(load_file(path), path, metadata={"format": "pt"})


def damage_not_a_number(path: Path) -> None:
    metadata = metadata_of(path)
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, path, metadata=metadata)


DAMAGES = (damage_truncate, damage_empty, damage_shape, damage_metadata, damage_not_a_number)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_safetensors_are_told_as_such(tmp_path: Path, damage: object) -> None:
    path = save_tiny(tmp_path / "own.safetensors")
    assert callable(damage)
    damage(path)
    assert failure_of(str(path))[0] is FailureCode.WEIGHTS_CORRUPT


@pytest.mark.parametrize("keep_checksum", [True, False])
def test_damaged_pickles_are_told_as_such(tmp_path: Path, keep_checksum: bool) -> None:
    path = save_pickled(tmp_path, "955717e8")
    if not keep_checksum:
        path = path.rename(tmp_path / "955717e8.th")
    damage_truncate(path)
    assert failure_of(str(path))[0] is FailureCode.WEIGHTS_CORRUPT


def test_one_flipped_bit_is_caught_by_the_list_of_checksums(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "own.safetensors")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  own.safetensors\n")
    assert load_model(str(path)).sha256 == digest
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert failure_of(str(path))[0] is FailureCode.WEIGHTS_CORRUPT


@pytest.mark.parametrize("listing", ["", "one-word\n", f"{'0' * 64}  other.safetensors\n"])
def test_a_list_of_checksums_must_list_the_weights(tmp_path: Path, listing: str) -> None:
    path = save_tiny(tmp_path / "own.safetensors")
    (tmp_path / "SHA256SUMS").write_text(listing)
    assert failure_of(str(path))[0] is FailureCode.WEIGHTS_CORRUPT


@pytest.mark.parametrize("definition", ["models: [", "weights: []\n", "models: 3\n", "- a\n", "", "\xff"])
def test_a_broken_definition_is_told_as_such(tmp_path: Path, definition: str) -> None:
    save_tiny(tmp_path / "955717e8.safetensors")
    (tmp_path / "own.yaml").write_bytes(definition.encode("latin-1"))
    assert failure_of("own", tmp_path)[0] is FailureCode.WEIGHTS_CORRUPT


def test_damaged_htdemucs_is_no_reason_to_fall_back(tmp_path: Path) -> None:
    save_bag(tmp_path, "htdemucs", ["955717e8"])
    damage_truncate(save_tiny(tmp_path / "955717e8.safetensors"))
    assert failure_of("auto", tmp_path)[0] is FailureCode.WEIGHTS_CORRUPT
