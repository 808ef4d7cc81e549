"""Makes downloaded weights float32 safetensors, which runners map into memory: `float32.py FROM FOLDER`.

Which files are together a model says Demucs' own list of its models; any other file is a model by itself.
"""

import shutil
import sys
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from demucs.pretrained import REMOTE_ROOT

from contract.failures import JobFailed
from runner.convert_weights import Refused, convert


def models_of(downloads: Path) -> list[str]:
    """The names of the models whose files are all there; their definitions are put beside the files."""
    left = {path.stem.partition("-")[0] for path in downloads.glob("*.th")}
    left |= {path.stem for path in downloads.glob("*.safetensors")}
    there, names = frozenset(left), []
    for definition in sorted(REMOTE_ROOT.glob("*.yaml")):
        signatures = set(yaml.safe_load(definition.read_text())["models"])
        if signatures <= there:
            shutil.copy(definition, downloads)
            names.append(definition.stem)
            left -= signatures
    return [*names, *sorted(left)]


def main(downloads: Path, folder: Path) -> None:
    """Fills the folder; it is there and empty when there is nothing to convert."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in models_of(downloads):
        for path in convert(name, folder, downloads):
            sys.stdout.write(f"{name}: {path}\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except JobFailed as failed:
        sys.exit(f"weights: {failed.failure.error}")
    except (OSError, Refused) as error:
        sys.exit(f"weights: {error}")
