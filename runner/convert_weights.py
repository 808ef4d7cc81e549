"""Writes a model's weights as float32 safetensors, once: `python -m runner.convert_weights NAME FOLDER`.

Demucs publishes 16-bit numbers, which every start would convert and copy. Float32 files, twice as large, are
mapped into memory instead. FOLDER then serves as STEMJOB_WEIGHTS_DIR; its SHA256SUMS lists the new files.
"""

import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from safetensors.torch import save_file

from contract.failures import JobFailed
from runner.checksums import fingerprint
from runner.weight_files import locate
from runner.weights import CHECKSUMS, STAMPED, load_file, load_model


def convert(name: str, folder: Path, weights_dir: Path | None = None) -> list[Path]:
    """Writes the files of one model, and of a bag its definition. The files of weights.

    Args:
        name: as for `runner.weights.load_model`, which downloads and checks the model.
        folder: is made if need be; files of the same names are replaced.
        weights_dir: where to look first.

    Raises:
        JobFailed: weights_unavailable, weights_corrupt, unsupported_model.
        OSError: the folder cannot be written.
    """
    name = load_model(name, weights_dir).name  # all checks; `auto` has a name then
    found = locate(name, weights_dir)
    assert found is not None
    folder.mkdir(parents=True, exist_ok=True)
    signatures = [STAMPED.sub("", path.stem) for path in found.paths]
    pairs = zip(signatures, found.paths, strict=True)
    written = [_save(folder / f"{signature}.safetensors", load_file(path)) for signature, path in pairs]
    if found.bag:
        bag = {"models": signatures, "weights": found.weights, "segment": found.segment}
        definition = {key: value for key, value in bag.items() if value is not None}
        (folder / f"{Path(name).name}.yaml").write_text(yaml.safe_dump(definition))
    _list_checksums(folder, written)
    return written


def _save(path: Path, model: torch.nn.Module) -> Path:
    """One network in the format that `demucs.hf.load_safetensors_model` reads."""
    arguments, named = model._init_args_kwargs  # type: ignore[misc]  # left there by demucs.states.capture_init
    tensors = {
        key: (value.float() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    metadata = {
        "klass": f"{type(model).__module__}.{type(model).__qualname__}",
        "args": json.dumps(arguments, default=_encoded),
        "kwargs": json.dumps(named, default=_encoded),
    }
    new = path.with_suffix(".new")  # then renamed: a runner may have the old file mapped
    save_file(tensors, new, metadata=metadata)
    return new.rename(path)


def _encoded(value: object) -> dict[str, Any]:
    """A fraction as demucs' files hold it; anything else that JSON does not know is an error."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise TypeError(f"{value!r} cannot be written as JSON")


def _list_checksums(folder: Path, files: list[Path]) -> None:
    """Enters the files into the folder's SHA256SUMS; what it says of others stays."""
    listing = folder / CHECKSUMS
    names = {file.name for file in files}
    lines = listing.read_text().splitlines() if listing.exists() else []
    others = [line for line in lines if line.partition(" ")[2].strip().lstrip("*") not in names]
    ours = [f"{fingerprint(file).sha256}  {file.name}" for file in files]
    listing.write_text("".join(f"{line}\n" for line in (*others, *ours)))


def main(name: str, folder: str) -> None:
    """The command. Looks where a runner would, and where STEMJOB_WEIGHTS_DIR says first."""
    weights_dir = os.environ.get("STEMJOB_WEIGHTS_DIR")
    for path in convert(name, Path(folder), Path(weights_dir) if weights_dir else None):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m runner.convert_weights NAME FOLDER")
    try:
        main(*sys.argv[1:])
    except JobFailed as failed:
        sys.exit(f"convert_weights: {failed.failure.error}")
