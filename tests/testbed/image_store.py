"""Images built from Dockerfiles without Docker: Debian's buildah, over a base made of Debian's own packages.

They lie in one store in the testbed's cache, from which the real node runs them without a copy.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.testbed import packages
from tests.testbed.binaries import cache_folder

REPOSITORY = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
"""The name that the Dockerfiles ask for; what lies under it here is Debian 12 with its own Python 3.11."""

API = "docker.io/library/stemjob-api:dev"
RUNNER = "docker.io/library/stemjob-runner:dev"
LAMBDA = "docker.io/library/stemjob-lambda:dev"
"""The product's own images, under the names that a node knows them by."""

PRODUCT = {API: "Dockerfile.api", RUNNER: "Dockerfile.runner", LAMBDA: "Dockerfile.lambda"}

BASE_PACKAGES = ("ca-certificates", "python3", "python3-venv")
NOT_IN_THE_BASE = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"),
    *("var/cache/apt", "var/lib/apt/lists", "var/log/apt", "etc/apt/sources.list"),
)
IN_A_NAMESPACE = ("unshare", "--mount", "--propagation", "private")
"""What the command after it mounts ends with it, however that happens: the machine stays as it was."""

CERTIFICATES = Path("/etc/ssl/certs")
"""Of this machine: a mirror of packages may have one that nobody else knows."""


class ImageError(Exception):
    """An image could not be built. The message has the end of what buildah said."""


def folder() -> Path:
    """Where the store lies, and notes about what it holds."""
    return cache_folder() / "images"


def buildah(*arguments: str | Path, timeout: float = 3600) -> str:
    """Run buildah on the testbed's own store. What it prints."""
    store = ("--root", folder() / "store", "--runroot", folder() / "run", "--storage-driver", "overlay")
    command = [*IN_A_NAMESPACE, packages.find("buildah") or "buildah", *map(str, (*store, *arguments))]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(scratch())},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        said = f"{done.stdout}\n{done.stderr}".strip()
        raise ImageError(f"buildah {arguments[0]} ended with status {done.returncode}:\n{said[-3000:]}")
    return done.stdout


@contextmanager
def only_one_builder() -> Iterator[None]:
    """Wait until no other process builds."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(dockerfile: str, name: str, *, target: str = "", **arguments: str) -> None:
    """Build an image of the repository as it is, or do nothing when it is there already.

    Args:
        dockerfile: its name in the repository.
        name: the image's full name with its tag.
        target: the stage to build, by default the last.
        arguments: of the build (`--build-arg`).

    Raises:
        ImageError: a step failed.
    """
    with only_one_builder():
        note = note_of(name)
        made_of = fingerprint(dockerfile, target, arguments)
        if note.is_file() and json.loads(note.read_text())["made_of"] == made_of and exists(name):
            return
        remove_halves()
        make_base()
        said = buildah(
            *("bud", "--isolation=chroot", "--pull-never", "--layers", "--file", dockerfile, "--tag", name),
            *(f"--build-arg={key}={value}" for key, value in {**index(), **arguments}.items()),
            *([f"--target={target}"] if target else []),
            *([f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.is_dir() else []),
            REPOSITORY,
        )
        # Every step is an image of its own, of which later builds start.
        steps = re.findall(r"^--> (?:Using cache )?([0-9a-f]{11})", said, re.MULTILINE)
        note.write_text(json.dumps({"made_of": made_of, "steps": steps}))
        remove_old_steps()


def remove(name: str) -> None:
    """Delete an image, and the steps of its build that no other has."""
    with only_one_builder():
        remove_halves()  # a build that failed keeps the images that it stood on
        buildah("rmi", name)
        note_of(name).unlink()
        remove_old_steps()


def note_of(name: str) -> Path:
    """Where it is noted of what an image was made."""
    return folder() / f"{re.sub('[^a-z0-9.]+', '-', name)}.json"


def remove_halves() -> None:
    """Delete what builds that were killed have left. Only for whoever holds the lock."""
    buildah("rm", "--all")
    for path in scratch().iterdir():
        subprocess.run(["rm", "-rf", path], check=True)


def scratch() -> Path:
    """For temporary files."""
    path = folder() / "tmp"
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove_old_steps() -> None:
    """Delete the steps of builds that were overtaken: a runner's dependencies take gigabytes."""
    notes = [json.loads(path.read_text()) for path in folder().glob("*.json")]
    kept = {step for note in notes for step in note["steps"]}
    images: list[dict[str, Any]] = json.loads(buildah("images", "--all", "--json"))
    for image in images:  # newest first, so that nothing is deleted before what was built on it
        if not image.get("names") and image["id"][:11] not in kept:
            buildah("rmi", image["id"])


def fingerprint(dockerfile: str, target: str, arguments: Mapping[str, str]) -> str:
    """A hash of all that goes into an image but the packages of the index."""
    sums = hashlib.sha256(repr((base_recipe(), target, sorted(arguments.items()))).encode())
    ignore = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sources = [REPOSITORY / line[1:] for line in ignore if line.startswith("!")]
    for source in (REPOSITORY / dockerfile, REPOSITORY / ".dockerignore", *sources):
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file() and "__pycache__" not in path.parts:
                sums.update(f"\0{path.relative_to(REPOSITORY)}\0".encode())
                sums.update(path.read_bytes())
    return sums.hexdigest()


def exists(name: str) -> bool:
    """Whether there is an image of this name."""
    return bool(buildah("images", "--quiet", "--filter", f"reference={name}").strip())


def settings_of(name: str) -> dict[str, Any]:
    """What an image says about itself: User, Env, Cmd, Labels ... as OCI's image specification has it."""
    image: dict[str, Any] = json.loads(buildah("inspect", "--type=image", name))["OCIv1"]
    return dict(image["config"])


def layers_of(name: str) -> list[Path]:
    """The folders of an image's layers, the lowest first: files as overlayfs wants them."""
    store = folder() / "store"
    images = json.loads((store / "overlay-images" / "images.json").read_text())
    layers = json.loads((store / "overlay-layers" / "layers.json").read_text())
    parents = {layer["id"]: layer.get("parent", "") for layer in layers}
    [layer] = [image["layer"] for image in images if name in image.get("names", [])]
    found = []
    while layer:
        found.append(store / "overlay" / layer / "diff")
        layer = parents[layer]
    return found[::-1]


def size_of(name: str) -> int:
    """Bytes of all files in all layers, unpacked."""
    paths = (path for layer in layers_of(name) for path in layer.rglob("*"))
    return sum(path.lstat().st_size for path in paths if path.is_symlink() or path.is_file())


def make_base() -> None:
    """Make the base image when it is not there. A minute, once."""
    if exists(BASE) and settings_of(BASE).get("Labels", {}).get("testbed.recipe") == base_recipe():
        return
    root = Path(tempfile.mkdtemp(dir=scratch(), prefix="base-"))
    try:
        root.chmod(0o755)
        command = [
            *(*IN_A_NAMESPACE, packages.find("debootstrap") or "debootstrap", "--variant=minbase"),
            *(f"--include={','.join(BASE_PACKAGES)}", "bookworm", str(root), *mirror()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ImageError(f"debootstrap ended with status {done.returncode}:\n{done.stdout[-2000:]}")
        for path in NOT_IN_THE_BASE:
            subprocess.run(["rm", "-rf", root / path], check=True)
        container = buildah("from", "scratch").strip()
        buildah("add", "--quiet", container, root, "/")
        variable = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        buildah("config", f"--label=testbed.recipe={base_recipe()}", f"--env={variable}", container)
        buildah("commit", "--quiet", container, BASE)
        buildah("rm", container)
    finally:
        shutil.rmtree(root)


def base_recipe() -> str:
    """Changes when the base is made of something else."""
    return hashlib.sha256(repr((BASE_PACKAGES, NOT_IN_THE_BASE)).encode()).hexdigest()[:16]


def mirror() -> list[str]:
    """The mirror of Debian 12 that this machine uses for itself; none where debootstrap's own must do."""
    line = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"]
    try:
        said = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    sites = [site for site, release in (each.split() for each in said.splitlines()) if release == "bookworm"]
    return sites[:1]


def index() -> dict[str, str]:
    """The index of Python packages that whoever set this machine up told pip to use."""
    line = [shutil.which("pip") or "pip", "config", "get", "global.index-url"]
    try:
        told = subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        told = ""
    url = os.environ.get("PIP_INDEX_URL") or told
    return {"PIP_INDEX_URL": url} if url else {}
