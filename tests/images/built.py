"""What lies in a built image."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import image_store


@dataclass(frozen=True)
class Files:
    """All files of an image as a container sees them: path from the root -> where it lies."""

    lies: dict[str, Path]

    def below(self, *folders: str) -> list[str]:
        """Paths in these folders."""
        return [path for path in self.lies if path.startswith(tuple(f"{folder}/" for folder in folders))]

    def named(self, *names: str) -> list[str]:
        """Paths whose last part is one of these, or that lie in a folder of that name."""
        return [path for path in self.lies if set(path.split("/")) & set(names)]

    def read(self, path: str) -> bytes:
        return self.lies[path].read_bytes()


def files_of(image: str) -> Files:
    """What is in an image."""
    lies: dict[str, Path] = {}
    for layer in image_store.layers_of(image):
        for path in walk(layer):
            name = str(path.relative_to(layer))
            if is_whiteout(path):
                lies = {each: where for each, where in lies.items() if not f"{each}/".startswith(f"{name}/")}
            else:
                lies[name] = path
    return Files(lies)


def walk(folder: Path) -> Iterator[Path]:
    """All that is no folder, at any depth; links are not followed."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from walk(path)
        else:
            yield path


def is_whiteout(path: Path) -> bool:
    """Whether this stands for a file that an upper layer deleted, as overlayfs writes it."""
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
