"""Each image holds what it needs to run and nothing of what it took to build it."""

import re
import tomllib

import pytest

from api.version import VERSION
from runner.kernels import build
from tests.images.built import Files, files_of
from tests.testbed import image_store

pytestmark = pytest.mark.timeout(1800)  # the first build downloads gigabytes

BUILDERS = {
    *("cc", "gcc", "g++", "c++", "clang", "ld", "as", "make", "cmake", "ninja"),
    *("uv", "git", "buildah", "nvcc", "protoc"),
}
PROGRAMS = ("bin", "usr/bin", "usr/local/bin", "opt/stemjob/bin")
HASHED_AND_UNCHECKED = b"\x01\x00\x00\x00"


@pytest.fixture(params=["api", "runner"])
def image(request: pytest.FixtureRequest) -> str:
    name: str = request.getfixturevalue(f"{request.param}_image")
    return name


@pytest.fixture(scope="module")
def api(api_image: str) -> Files:
    return files_of(api_image)


@pytest.fixture(scope="module")
def runner(runner_image: str) -> Files:
    return files_of(runner_image)


@pytest.fixture
def files(image: str, request: pytest.FixtureRequest) -> Files:
    found: Files = request.getfixturevalue("api" if "api" in image else "runner")
    return found


def test_containers_are_not_root_and_start_what_the_image_is_for(image: str) -> None:
    settings = image_store.settings_of(image)

    assert settings["User"] == "10001:10001"
    assert settings["Cmd"] == ["python", "-m", "api" if "api" in image else "runner"]
    assert "Entrypoint" not in settings
    assert not [each for each in settings["Env"] if re.search("INDEX|CERT|PROXY", each, re.IGNORECASE)]


def test_labels_say_what_it_is(image: str) -> None:
    labels = image_store.settings_of(image)["Labels"]

    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == image.rpartition("/")[2].removesuffix(":dev")
    assert labels[f"{prefix}licenses"] == "MIT"
    assert labels[f"{prefix}version"] == VERSION
    assert {f"{prefix}{each}" for each in ("description", "revision")} <= set(labels)


def test_nothing_is_left_of_the_building(files: Files) -> None:
    programs = {path.rpartition("/")[2] for path in files.below(*PROGRAMS)}
    site = [path for path in files.below("opt/stemjob") if "/site-packages/" in path]

    assert "sh" in programs
    assert not programs & BUILDERS
    assert not files.named(".cache", "pip-cache")
    assert not files.below("build", "versions", "root/.cache", "tmp")
    assert not [path for path in site if re.search(r"/site-packages/(pip|uv|wheel|torch/include)/", path)]
    assert not [path for path in files.below("opt", "app") if path.endswith((".a", ".cuh"))]


def test_image_and_installation_name_the_same_compiler() -> None:
    project = tomllib.loads((image_store.REPOSITORY / "pyproject.toml").read_text())
    dockerfile = (image_store.REPOSITORY / "Dockerfile.runner").read_text()

    [version] = re.findall(r"^ARG ZIGLANG=(.+)$", dockerfile, re.MULTILINE)
    assert f"ziglang=={version}" in project["build-system"]["requires"]


def test_the_runners_kernels_are_those_of_an_installation(runner: Files) -> None:
    compiled = {path for path in runner.below("app/runner/kernels") if path.endswith(".so")}

    assert compiled == {f"app/runner/kernels/{kind}.so" for kind in build.kinds()}
    for path in compiled:
        assert runner.read(path) == (image_store.REPOSITORY / path.removeprefix("app/")).read_bytes()


def test_all_python_is_compiled_for_good(files: Files) -> None:
    sources = [path for path in files.below("app", "opt/stemjob") if path.endswith(".py")]
    compiled = [path for path in files.below("app", "opt/stemjob") if path.endswith(".pyc")]

    of = {re.sub(r"/__pycache__/([^/]+)\.cpython-\d+\.pyc$", r"/\1.py", path) for path in compiled}
    assert len(sources) > 1000
    assert [path for path in sources if path not in of and path.startswith("app/")] == []
    assert len([path for path in sources if path not in of]) < 10, "some packages carry what is no Python"
    # Then nothing is compared with sources' times, which a registry may change, and nothing written.
    assert {files.read(path)[4:8] for path in compiled[::50]} == {HASHED_AND_UNCHECKED}


def test_the_api_has_nothing_of_the_runner(api: Files) -> None:
    assert api.below("app/api/launchers/kubernetes", "app/contract")
    assert "app/api/launchers/kubernetes/runner-job.yaml" in api.lies
    assert not api.below("app/runner", "app/tests")
    assert not api.named("torch", "numpy", "demucs", "librosa", "soundfile.py", "safetensors")


def test_the_runner_has_nothing_of_the_api(runner: Files) -> None:
    assert runner.below("app/runner", "app/contract")
    assert "app/runner/models/bundled.safetensors" in runner.lies
    assert not runner.below("app/api", "app/tests")
    assert not runner.named("fastapi", "starlette", "uvicorn", "zipstream")


def test_the_runner_computes_on_gpus_without_what_separation_does_not_need(runner: Files) -> None:
    libraries = {path.rpartition("/")[2] for path in runner.below("opt/stemjob")}
    packages = {path.partition("/site-packages/")[2].partition("/")[0] for path in runner.lies}

    assert {"libtorch_cuda.so", "libcudnn.so.9", "libcublasLt.so.13"} <= libraries
    assert {"torch", "nvidia", "demucs", "librosa"} <= packages
    assert not packages & {"triton", "sphn"}
    assert not [name for name in libraries if name.startswith("libcusolver")]


def test_images_are_as_small_as_the_readme_says(api_image: str, runner_image: str) -> None:
    assert image_store.size_of(api_image) < 250e6
    assert image_store.size_of(runner_image) < 6e9


def test_what_changes_often_comes_last(image: str) -> None:
    layers = image_store.layers_of(image)

    holding = [{path.name for path in layer.iterdir()} for layer in layers]
    [code] = [
        number
        for number, names in enumerate(holding)
        if "app" in names and any((layers[number] / "app").iterdir())
    ]
    assert code == len(layers) - 1
    assert "opt" in holding[code - 1] or "opt" in holding[code - 2]
