"""The Debian packages of the real node, images and one-shots. The control plane and the bucket need none."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

CNI_PLUGINS = Path("/usr/lib/cni")

SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""Where programs are; the last folders are not on everybody's path."""

FOR_IMAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
"""What builds images: program -> the package that brings it."""

OF_BUILDAH = Path("/var/lib/containers")

FOR_TRAINING = {
    "fluidsynth": "fluidsynth",
    "/usr/share/sounds/sf2/TimGM6mb.sf2": "timgm6mb-soundfont",
}
"""What renders one-shots: program or file -> the package that brings it."""

NEEDED = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    str(CNI_PLUGINS / "ptp"): "containernetworking-plugins",
    str(CNI_PLUGINS / "host-local"): "containernetworking-plugins",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "unzip": "unzip",
}
"""What the real node is made of: program -> the package that brings it."""


class NotInstalledError(Exception):
    """A package could not be installed. The message says how to do it by hand."""


def missing(needed: Mapping[str, str] = NEEDED) -> list[str]:
    """Packages of which a program or file is not there."""
    return sorted({package for name, package in needed.items() if not (find(name) or Path(name).is_file())})


def find(program: str) -> str | None:
    """Where a program is."""
    return shutil.which(program, path=SEARCH_PATH)


def command(names: list[str]) -> str:
    """What to type to get them."""
    return f"apt-get install -y --no-install-recommends {' '.join(names)}"


def install() -> None:
    """Install what is missing, as root."""
    names = missing({**NEEDED, **FOR_IMAGES, **FOR_TRAINING})
    if names and (os.geteuid() != 0 or not shutil.which("apt-get")):
        raise NotInstalledError(f"as root on Debian: {command(names)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for line in ("apt-get update -q", command(names)) if names else ():
        if subprocess.run(line.split(), env=environment, check=False).returncode != 0:
            raise NotInstalledError(f"this failed: {line}")
    if os.geteuid() == 0:  # else buildah's first run makes it, maybe while a test looks who does such things
        OF_BUILDAH.mkdir(mode=0o700, exist_ok=True)
