"""Lets the code in a folder say its version, as if installed: `metadata.py pyproject.toml FOLDER`."""

import sys
import tomllib
from pathlib import Path


def main(project_file: Path, folder: Path) -> None:
    """Writes the least that `importlib.metadata` reads."""
    project = tomllib.loads(project_file.read_text())["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    lines = ("Metadata-Version: 2.4", f"Name: {project['name']}", f"Version: {project['version']}", "")
    (info / "METADATA").write_text("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
