"""Makes downloaded weights float32 safetensors, which runners map into memory: `float32.py FROM FOLDER`.

Which files are together a model say the definitions among the downloads and Demucs' own list of its models;
any other file is a model by itself.
"""

import shutil
import sys
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from demucs.pretrained import REMOTE_ROOT
from safetensors import SafetensorError

from contract.failures import JobFailed
from runner.convert_weights import Refused, convert
from runner.weights import CHECKSUMS, STAMPED


def models_of(downloads: Path) -> list[str]:
    """The names of the models; definitions of Demucs' whose files are all there are put beside them.

    Raises:
        Refused: a file is no part of any model, or two have the same name.
    """
    files = [path for path in sorted(downloads.iterdir()) if path.name != CHECKSUMS]
    weights = [STAMPED.sub("", path.stem) for path in files if path.suffix in (".th", ".safetensors")]
    own = [path.stem for path in files if path.suffix == ".yaml"]
    if len(weights) + len(own) < len(files) or len(set(weights)) < len(weights):
        names = ", ".join(path.name for path in files)
        raise Refused(f"not each of {names} is a .th, .safetensors or .yaml file of its own name.")
    for definition in sorted(REMOTE_ROOT.glob("*.yaml")):
        if definition.stem not in own and _signatures(definition) <= set(weights):
            shutil.copy(definition, downloads)
            own.append(definition.stem)
    in_bags = {signature for name in own for signature in _signatures(downloads / f"{name}.yaml")}
    return [*own, *sorted(set(weights) - in_bags)]


def _signatures(definition: Path) -> set[str]:
    return set(map(str, yaml.safe_load(definition.read_text())["models"]))


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
    except (OSError, Refused, SafetensorError, yaml.YAMLError) as error:
        sys.exit(f"weights: {error}")
