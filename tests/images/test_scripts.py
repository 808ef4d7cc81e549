"""What runs inside a build refuses what must not become an image."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from runner.weights import load_model
from scripts.images import metadata, slim, torch_kind
from tests.runner.weight_folders import save_bag, save_pickled
from tests.testbed import image_store
from tests.testbed.requirements import require_image_builder

SCRIPTS = Path(__file__).parents[2] / "scripts" / "images"
WEIGHTS = b"weights of a network"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of files of weights."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "955717e8-8726e21a.th").write_bytes(WEIGHTS)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as httpd:
        threading.Thread(target=httpd.serve_forever).start()
        yield f"http://127.0.0.1:{httpd.server_port}/955717e8-8726e21a.th"
        httpd.shutdown()


def run(script: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script as a Dockerfile runs it."""
    command = [sys.executable, SCRIPTS / script, *arguments]
    everything = {**os.environ, **environment}
    return subprocess.run(command, env=everything, capture_output=True, text=True, check=False)


def test_a_torch_of_another_kind_than_asked_for_ends_the_build() -> None:
    torch = find_spec("torch")
    assert torch
    assert torch.origin
    is_cuda = (Path(torch.origin).parent / "lib" / "libtorch_cuda.so").exists()
    wrong, found = ("cpu", "cuda") if is_cuda else ("cuda", "cpu")

    refused = run("torch_kind.py", wrong)

    assert refused.returncode == 1
    assert refused.stderr == (
        f"TORCH={wrong} was asked for, but the torch that was installed is a build for {found}.\n"
    )


@pytest.mark.parametrize(
    ("asked", "cuda", "problem"),
    [("cuda", "13.2", ""), ("cpu", None, ""), ("rocm", None, "TORCH is 'rocm', but it is cuda or cpu.")],
)
def test_the_kinds_of_torch(asked: str, cuda: str | None, problem: str) -> None:
    assert torch_kind.problem(asked, cuda) == problem


def test_weights_are_downloaded_with_their_checksums(server: str, tmp_path: Path) -> None:
    done = run("weights.py", tmp_path / "weights", f"{server}#sha256={SHA256}")

    assert (done.returncode, done.stderr) == (0, "")
    found = {path.name: path.read_bytes() for path in (tmp_path / "weights").iterdir()}
    assert found == {
        "955717e8-8726e21a.th": WEIGHTS,
        "SHA256SUMS": f"{SHA256}  955717e8-8726e21a.th\n".encode(),
    }


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        (f"#sha256={'0' * 64}", f"has the SHA-256 {SHA256}, not {'0' * 64}."),
        ("", "after the address of a file comes #sha256= and 64 hex digits."),
        ("#sha256=8726e21a", "after the address of a file comes #sha256= and 64 hex digits."),
        (f"-gone#sha256={SHA256}", "404"),
    ],
)
def test_weights_that_are_not_those_that_were_meant_end_the_build(
    server: str, tmp_path: Path, rest: str, sentence: str
) -> None:
    done = run("weights.py", tmp_path / "weights", server + rest)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert list((tmp_path / "weights").iterdir()) == []


def test_what_is_baked_in_are_float32_models_under_demucs_names(tmp_path: Path) -> None:
    """A bag of four that Demucs defines, one of another's four (`mdx`), and a file that is in no bag."""
    downloads, folder = tmp_path / "downloads", tmp_path / "weights"
    downloads.mkdir()
    signatures = ["f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d", "0d19c1c6", "my-own"]
    for signature in signatures:
        save_pickled(downloads, signature, torch.float16)

    done = run("float32.py", downloads, folder, PYTHONPATH=str(SCRIPTS.parents[1]))

    assert done.returncode == 0, done.stderr
    names = {"htdemucs_ft.yaml", "SHA256SUMS", *(f"{signature}.safetensors" for signature in signatures)}
    assert {path.name for path in folder.iterdir()} == names
    assert len(list(load_model("htdemucs_ft", folder).model.models)) == 4  # type: ignore[arg-type]
    assert load_model("my-own", folder).name == "my-own"
    assert {tensor.dtype for tensor in load_file(folder / "my-own.safetensors").values()} == {torch.float32}


def test_a_definition_of_ones_own_is_kept(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    save_bag(downloads, "htdemucs", ["12345678", "12345678"])
    save_pickled(downloads, "12345678")
    done = run("float32.py", downloads, tmp_path / "weights", PYTHONPATH=str(SCRIPTS.parents[1]))
    assert done.returncode == 0, done.stderr
    assert len(list(load_model("htdemucs", tmp_path / "weights").model.models)) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["own.th"], "The weights of the model own are damaged."),
        (["own.pt"], "not each of own.pt is a .th, .safetensors or .yaml file of its own name."),
        (
            ["own.th", "own.safetensors"],
            "not each of own.safetensors, own.th is a .th, .safetensors or .yaml file of its own name.",
        ),
    ],
)
def test_weights_that_are_none_end_the_build_with_a_sentence(
    names: list[str], sentence: str, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name in names:
        (downloads / name).write_bytes(WEIGHTS)
    done = run("float32.py", downloads, tmp_path / "weights", PYTHONPATH=str(SCRIPTS.parents[1]))
    assert (done.returncode, done.stderr) == (1, f"weights: {sentence}\n")


@pytest.mark.testbed
@pytest.mark.timeout(1800)  # another process may be building an image
def test_the_build_argument_decides_on_the_weights(server: str, tmp_path: Path) -> None:
    require_image_builder()
    name = "testbed.local/weights:1"
    build = {"dockerfile": "Dockerfile.runner", "name": name, "target": "weights"}
    path = save_pickled(tmp_path / "served", "955717e8")
    address = f"{server.rpartition('/')[0]}/{path.name}"

    image_store.build(**build, WEIGHTS=f"{address}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}")
    files = {path.name for layer in image_store.layers_of(name) for path in layer.glob("opt/weights/*")}
    with pytest.raises(image_store.ImageError, match="has the SHA-256"):
        image_store.build(**build, WEIGHTS=f"{address}#sha256={'0' * 64}")
    image_store.remove(name)

    assert str(image_store.folder()) not in Path("/proc/mounts").read_text(), "the machine is left as it was"
    assert files == {"955717e8.safetensors", "SHA256SUMS", "htdemucs.yaml"}


def test_without_weights_their_folder_is_there_and_empty(tmp_path: Path) -> None:
    assert run("weights.py", tmp_path / "downloads").returncode == 0
    done = run("float32.py", tmp_path / "downloads", tmp_path / "weights", PYTHONPATH=str(SCRIPTS.parents[1]))
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "weights").iterdir()) == []


def test_what_is_never_used_goes_and_is_weighed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("triton/_C/lib.so", "torch/lib/libtorch.so", "torch/include/a.h", "numpy/ma/tests/test.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(bytes(1_500_000))

    slim.main(tmp_path)

    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["torch/lib/libtorch.so"]
    assert "without triton: 2 MB less" in capsys.readouterr().err


def test_code_in_a_folder_says_its_version(tmp_path: Path) -> None:
    metadata.main(SCRIPTS.parents[1] / "pyproject.toml", tmp_path)

    [found] = distributions(path=[str(tmp_path)])
    assert (found.metadata["Name"], found.version) == ("stemjob", "1.0.0")
