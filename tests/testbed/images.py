"""Container images without a registry and without a builder: archives written by hand."""

import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BUSYBOX_APPLETS = (
    "sh",
    "cat",
    "env",
    "id",
    "ls",
    "nc",
    "nslookup",
    "printf",
    "sleep",
    "touch",
    "true",
    "wget",
)


def write_image(
    archive: Path,
    name: str,
    root: Path,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Write a folder as an image with one layer, in the format of `docker save`.

    Args:
        archive: the file to write.
        name: the image's full name with its tag. Not `latest`, which makes kubelets ask a registry.
        root: what becomes the container's `/`. All files belong to root there.
        command: what a container runs when the pod does not say.
        environment: what a container has besides PATH.
    """
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, mode="w") as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, str(path.relative_to(root)), recursive=False, filter=owned_by_root)
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = image_config(digest, command, environment or {})
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for file, text in (("config.json", json.dumps(config)), ("manifest.json", json.dumps(manifest))):
            entry = tarfile.TarInfo(file)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
        tar.add(layer, "layer.tar")
    layer.unlink()
    return archive


def image_config(layer: str, command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """What an image says about itself."""
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin"}  # without it no command is found by its bare name
    settings = {
        "Cmd": list(command),
        "Env": [f"{key}={value}" for key, value in {**variables, **environment}.items()],
    }
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    layers = {"type": "layers", "diff_ids": [f"sha256:{layer}"]}
    return {"architecture": machine, "os": "linux", "config": settings, "rootfs": layers}


def write_busybox_image(archive: Path, name: str, command: Sequence[str] = ("sh",)) -> Path:
    """An image with a shell and a few commands, 2 MB, from Debian's busybox-static."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is not installed"
    root = archive.with_suffix(".root")
    for folder in ("bin", "etc", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in BUSYBOX_APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    try:
        return write_image(archive, name, root, command)
    finally:
        shutil.rmtree(root)


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names, ids and times of whoever wrote the archive."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry
