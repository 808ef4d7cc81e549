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

ELSEWHERE = ".files-lie-elsewhere"
"""The only file in a hollow layer; its text is the folder that has the layer's files."""

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
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin"}  # without it no command is found by its bare name
    settings = {
        "Cmd": list(command),
        "Env": [f"{key}={value}" for key, value in {**variables, **(environment or {})}.items()],
    }
    write_archive(archive, name, settings, [layer])
    layer.unlink()
    return archive


def write_hollow_image(archive: Path, name: str, settings: Mapping[str, Any], layers: Sequence[Path]) -> Path:
    """Write an image whose layers hold nothing but where their files lie: see `fill`.

    Args:
        archive: the file to write.
        name: the image's full name with its tag.
        settings: User, Env, Cmd and so on, as OCI's image specification has them.
        layers: folders of files as overlayfs wants them, the lowest first.
    """
    tars = [archive.with_suffix(f".{number}") for number in range(len(layers))]
    for file, layer in zip(tars, layers, strict=True):
        with tarfile.open(file, "w") as tar:
            add_text(tar, ELSEWHERE, str(layer))
    write_archive(archive, name, settings, tars)
    for file in tars:
        file.unlink()
    return archive


def fill(snapshots: Path) -> None:
    """Put the files of hollow layers into containerd's snapshots of them, by links: nothing is copied."""
    for note in snapshots.glob(f"*/fs/{ELSEWHERE}"):
        layer = Path(note.read_text())
        shutil.rmtree(note.parent)
        note.parent.symlink_to(layer)


def write_archive(archive: Path, name: str, settings: Mapping[str, Any], layers: Sequence[Path]) -> None:
    """Write an image in the format of `docker save`: its settings, and a tar file for each layer."""
    digests = []
    for layer in layers:
        with layer.open("rb") as content:
            digests.append(f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}")
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    files = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": files}]
    with tarfile.open(archive, "w") as tar:
        add_text(tar, "config.json", json.dumps(config))
        add_text(tar, "manifest.json", json.dumps(manifest))
        for layer, file in zip(layers, files, strict=True):
            tar.add(layer, file)


def add_text(tar: tarfile.TarFile, file: str, text: str) -> None:
    """Add a small file to an archive."""
    entry = tarfile.TarInfo(file)
    entry.size = len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))


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
