"""Weights made ready for a quick start, by the command that operators call."""

import hashlib
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml  # type: ignore[import-untyped]
from safetensors.torch import load_file

from runner.convert_weights import Refused, convert, main
from runner.weights import load_model
from tests.runner.tiny_models import save_tiny, tiny_htdemucs
from tests.runner.weight_folders import save_bag, save_pickled


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


def test_the_same_weights_are_the_same_bytes_whatever_process_writes_them(tmp_path: Path) -> None:
    """Else a manifest's SHA-256 would be that of one build only, and a layer of an image never the same."""
    source = save_tiny(tmp_path / "own.safetensors")
    program = "import sys; from runner.convert_weights import main; main(*sys.argv[1:])"
    for number in range(3):
        command = [sys.executable, "-c", program, str(source), str(tmp_path / f"{number}")]
        subprocess.run(command, check=True, capture_output=True)
    assert len({(tmp_path / f"{number}" / "own.safetensors").read_bytes() for number in range(3)}) == 1


def test_the_command_adds_to_what_a_folder_lists(tmp_path: Path) -> None:
    """Twice the same model, and another beside it; what was there is listed still."""
    source = save_tiny(tmp_path / "own.safetensors")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "another.th").touch()
    (folder / "another.yaml").touch()
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  another.th\n")
    convert(str(source), folder)
    command = [sys.executable, "-m", "runner.convert_weights", str(source), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o026)
    assert (done.returncode, done.stdout) == (0, f"{folder / 'own.safetensors'}\n"), done.stderr
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("own.safetensors", "SHA256SUMS")} == {
        0o640
    }
    assert list(sums(folder)) == ["another.th", "own.safetensors"]
    assert len(list(folder.iterdir())) == 4
    loaded = load_model("own", folder).model.state_dict()
    for name, tensor in tiny_htdemucs().state_dict().items():
        assert torch.equal(loaded[name], tensor), name


@pytest.mark.parametrize(
    ("listing", "stranger"), [(None, "another.th"), (None, "notes.txt"), ("0  other.th\n", "another.th")]
)
def test_a_folder_with_files_of_others_is_refused(listing: str | None, stranger: str, tmp_path: Path) -> None:
    """Its new list would not have them, and runners would take them for damaged."""
    source = save_tiny(tmp_path / "own.safetensors")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / stranger).touch()
    if listing:
        (folder / "SHA256SUMS").write_text(listing)
    before = sorted(folder.iterdir())
    with pytest.raises(Refused, match=stranger):
        convert(str(source), folder)
    assert sorted(folder.iterdir()) == before


def test_a_folder_s_bag_keeps_the_name_of_its_definition(tmp_path: Path) -> None:
    """Also when one network is in it twice."""
    only, new = tmp_path / "only", tmp_path / "new"
    save_bag(only, "htdemucs", ["955717e8", "955717e8"])
    save_pickled(only, "955717e8")
    convert(str(only), new)
    assert sorted(path.name for path in new.iterdir()) == [
        "955717e8.safetensors",
        "SHA256SUMS",
        "htdemucs.yaml",
    ]
    assert len(list(load_model("htdemucs", new).model.models)) == 2  # type: ignore[arg-type]


def test_what_is_wrong_is_one_sentence_and_the_folder_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weights, also not the small ones for `auto`; no need; no folder can be made; the disk is full."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("STEMJOB_WEIGHTS_DIR", raising=False)
    source = save_tiny(tmp_path / "own.safetensors")
    folder, below = tmp_path / "weights", source / "below"
    folder.mkdir()
    unlimited, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, place, largest, sentence in (
        ("/no/such.th", folder, unlimited, "The weights of the model /no/such.th are not on this machine"),
        ("auto", folder, unlimited, "The weights of the model htdemucs are not on this machine"),
        ("bundled", folder, unlimited, "The bundled model is float32 already"),
        (str(source), below, unlimited, f"{below} cannot be written: "),
        (str(source), folder, source.stat().st_size // 2, f"{folder} cannot be written: "),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
        try:
            with pytest.raises(SystemExit) as left:
                main(name, str(place))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, hard))
        told = str(left.value.code)
        assert told.startswith(f"convert_weights: {sentence}")
        assert told.endswith(".")
        assert "\n" not in told
        assert not list(folder.iterdir())
