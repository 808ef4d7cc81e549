"""Models by name: found, missing, or of the wrong kind."""

import hashlib
import shutil
import time
from pathlib import Path

import demucs.states
import pytest
import torch
from safetensors.torch import load_file, save_file

from contract.failures import FailureCode
from runner import weight_files
from runner.weights import FALLBACK_WARNING, load_model
from tests.runner.tiny_models import save_cheapest, save_tiny, tiny_htdemucs
from tests.runner.weight_folders import failure_of, metadata_of, save_bag, save_pickled

pytestmark = pytest.mark.usefixtures("no_caches_and_no_network")


def parameters_equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_file_of_weights_is_loaded_and_its_sum_is_told(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "own.safetensors")
    loaded = load_model(str(path))
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.name, loaded.sample_rate, loaded.warnings) == (str(path), 44_100, ())
    assert parameters_equal(loaded.model, tiny_htdemucs())
    assert not loaded.model.training


def test_all_weights_come_from_the_file(tmp_path: Path) -> None:
    """Layers are built without initial values; those that are built later have them again."""
    loaded = load_model(str(save_tiny(tmp_path / "own.safetensors"))).model.state_dict()
    expected = tiny_htdemucs().state_dict()
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor), name


def test_float32_safetensors_are_mapped_and_not_copied(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "own.safetensors")
    model = load_model(str(path)).model
    [mapped] = (
        line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line
    )
    start, end = (int(address, 16) for address in mapped.split("-"))
    assert all(start <= tensor.data_ptr() < end for tensor in model.state_dict().values())


def test_a_time_domain_network_has_its_own_way_of_loading(tmp_path: Path) -> None:
    loaded = load_model(str(save_cheapest(tmp_path / "own.safetensors")))
    weights = load_file(tmp_path / "own.safetensors")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_half_precision_is_converted(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "own.safetensors")
    metadata = metadata_of(path)
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, metadata=metadata)
    loaded = load_model(str(path)).model.state_dict()
    for name, tensor in tiny_htdemucs().state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.half().float()), name


def test_loading_leaves_demucs_as_it_was(tmp_path: Path) -> None:
    """Layers that are built later have initial values again, and weights are copied into them."""
    load_model(str(save_tiny(tmp_path / "own.safetensors")))
    first, second = tiny_htdemucs(), tiny_htdemucs()
    assert parameters_equal(first, second)
    state = second.state_dict()
    demucs.states.set_state(first, state)  # type: ignore[no-untyped-call]
    assert next(iter(first.parameters())).data_ptr() != next(iter(state.values())).data_ptr()


def test_a_folder_with_one_model_is_a_model(tmp_path: Path) -> None:
    save_tiny(tmp_path / "own.safetensors")
    assert parameters_equal(load_model(str(tmp_path)).model, tiny_htdemucs())


def test_a_named_model_comes_from_the_weights_folder(tmp_path: Path) -> None:
    """Both kinds of files; a bag's sum covers the sums of its files."""
    folder = tmp_path / "weights"
    save_bag(folder, "htdemucs", ["955717e8", "12345678"])
    files = [save_pickled(folder, "955717e8"), save_tiny(folder / "12345678.safetensors")]
    loaded = load_model("htdemucs", folder)
    sums = "".join(hashlib.sha256(file.read_bytes()).hexdigest() + "\n" for file in files)
    assert loaded.sha256 == hashlib.sha256(sums.encode()).hexdigest()
    assert len(list(loaded.model.models)) == 2  # type: ignore[arg-type]
    assert load_model("auto", folder).name == "htdemucs"


def test_a_model_in_the_hub_s_cache_needs_no_network(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--adefossez--HTDemucs" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    references = tmp_path / "hub" / "models--adefossez--HTDemucs" / "refs"
    references.mkdir()
    (references / "main").write_text("abc")
    save_bag(snapshot, "htdemucs", ["955717e8"])
    path = save_tiny(snapshot / "955717e8.safetensors")
    loaded = load_model("auto")
    assert (loaded.name, loaded.warnings) == ("htdemucs", ())
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_model_in_torch_s_cache_needs_no_network(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    save_pickled(folder, "955717e8")
    assert load_model("htdemucs").name == "htdemucs"


def test_auto_falls_back_to_the_bundled_model_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "BUNDLED", save_tiny(tmp_path / "bundled.safetensors"))
    loaded = load_model("auto")
    assert (loaded.name, loaded.warnings) == ("bundled", (FALLBACK_WARNING,))


def test_the_bundled_model_is_in_the_package() -> None:
    loaded = load_model("bundled")
    assert (loaded.name, loaded.sample_rate, loaded.warnings) == ("bundled", 44_100, ())
    assert loaded.sha256 == hashlib.sha256(weight_files.BUNDLED.read_bytes()).hexdigest()


def test_weights_that_cannot_be_had_are_a_failure_of_their_own() -> None:
    for name in ("htdemucs", "mdx_extra", "hf://somebody/htdemucs_own", "/no/such/file.safetensors"):
        code, error = failure_of(name)
        assert code is FailureCode.WEIGHTS_UNAVAILABLE
        assert name in error


def test_without_a_way_out_it_is_over_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses hang: nothing answers, and looking up the name never ends."""

    def hang(url: str) -> bool:
        time.sleep(30)
        return True

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(weight_files, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(weight_files, "_answers", hang)
    began = time.monotonic()
    assert failure_of("htdemucs")[0] is FailureCode.WEIGHTS_UNAVAILABLE
    assert time.monotonic() - began < 5
    assert weight_files.PROBE_SECONDS < 8


def test_a_download_is_demucs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub answers, `demucs.pretrained.get_model` is what fetches; its failure is told as ours."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(weight_files, "_answers", lambda url: True)
    folder = tmp_path / "torch" / "hub" / "checkpoints"

    def get_model(name: str) -> None:
        assert name == "htdemucs"
        folder.mkdir(parents=True)
        save_pickled(folder, "955717e8")

    monkeypatch.setattr("demucs.pretrained.get_model", get_model)
    assert load_model("htdemucs").name == "htdemucs"
    shutil.rmtree(folder)
    monkeypatch.setattr("demucs.pretrained.get_model", lambda name: exit(1))
    assert failure_of("htdemucs")[0] is FailureCode.WEIGHTS_UNAVAILABLE


def test_a_hyphen_in_an_operators_file_name_is_no_checksum(tmp_path: Path) -> None:
    path = save_pickled(tmp_path, "955717e8")
    assert load_model(str(path.rename(tmp_path / "my-model.th"))).name.endswith("my-model.th")


@pytest.mark.parametrize(
    "changes", [{"sources": ["drums", "bass", "other", "vocals", "guitar", "piano"]}, {"audio_channels": 1}]
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = save_tiny(tmp_path / "own.safetensors", **changes)
    assert failure_of(str(path))[0] is FailureCode.UNSUPPORTED_MODEL


def test_weights_of_another_class_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    layer = torch.nn.Linear(2, 2)
    metadata = {"klass": "torch.nn.Linear", "args": "[2, 2]", "kwargs": "{}"}
    save_file(layer.state_dict(), path, metadata=metadata)
    assert failure_of(str(path))[0] is FailureCode.UNSUPPORTED_MODEL
