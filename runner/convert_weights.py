"""Writes a model's weights as float32 safetensors, once: `python -m runner.convert_weights NAME FOLDER`.

Demucs publishes 16-bit numbers, which every start would convert and copy. Float32 files, twice as large, are
mapped into memory instead. FOLDER then serves as STEMJOB_WEIGHTS_DIR; its SHA256SUMS lists the new files.
"""

import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from safetensors import SafetensorError
from safetensors.torch import save_file

from contract.failures import JobFailed
from runner.checksums import fingerprint
from runner.weight_files import locate
from runner.weights import CHECKSUMS, STAMPED, load_file, load_model


class Refused(Exception):  # noqa: N818
    """What was asked would do harm or nothing; one sentence says why."""


def convert(name: str, folder: Path, weights_dir: Path | None = None) -> list[Path]:
    """Writes the files of one model, and of a bag its definition. The files of weights.

    All is written beside first and renamed at the end: a failure leaves the folder as it was. As each file is
    renamed by itself, a runner that starts just then may find old weights that the new list does not know.

    Args:
        name: as for `runner.weights.load_model`, which downloads and checks the model; `auto` is htdemucs.
        folder: is made if need be; files of the same names are replaced.
        weights_dir: where to look first.

    Raises:
        Refused: nothing to convert, or a folder with files that its new list would make useless.
        JobFailed: weights_unavailable, weights_corrupt, unsupported_model.
        OSError, SafetensorError: the folder cannot be written.
    """
    if name == "bundled":
        raise Refused("The bundled model is float32 already and is never read from a folder.")
    name = "htdemucs" if name == "auto" else name  # never the small model in its place
    load_model(name, weights_dir)  # for all its checks
    found = locate(name, weights_dir)
    assert found is not None
    signatures = [STAMPED.sub("", path.stem) for path in found.paths]
    definitions = [f"{_name_of_bag(name)}.yaml"] if found.bag else []
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_strangers(folder, [*definitions, *(f"{signature}.safetensors" for signature in signatures)])
    with TemporaryDirectory(prefix=".new-", dir=folder) as temporary:
        new = Path(temporary)
        pairs = zip(signatures, found.paths, strict=True)
        written = [_save(new / f"{signature}.safetensors", load_file(path)) for signature, path in pairs]
        (new / CHECKSUMS).write_text(_checksums(folder, written))
        for definition in definitions:
            bag = {"models": signatures, "weights": found.weights, "segment": found.segment}
            (new / definition).write_text(yaml.safe_dump({k: v for k, v in bag.items() if v is not None}))
        # The list before what it lists, then what makes it a model; a bag may hold a network twice.
        for each in dict.fromkeys([CHECKSUMS, *(file.name for file in written), *definitions]):
            (new / each).rename(folder / each)
    return [folder / file.name for file in written]


def _name_of_bag(name: str) -> str:
    """What its definition is called: a folder that is a model has exactly one."""
    path = Path(name)
    return next(path.glob("*.yaml")).stem if path.is_dir() else path.name


def _refuse_strangers(folder: Path, planned: list[str]) -> None:
    """A runner takes each file of weights for damaged that the SHA256SUMS beside it does not list."""
    listing = folder / CHECKSUMS
    known = {CHECKSUMS, *planned, *map(_listed, listing.read_text().splitlines() if listing.exists() else ())}
    for file in sorted(folder.iterdir()):
        if file.name not in known and (file.suffix in (".safetensors", ".th") or not listing.exists()):
            raise Refused(
                f"{folder} holds {file.name}, which its {CHECKSUMS} does not list: name a new folder, or one"
                " that this command filled."
            )


def _listed(line: str) -> str:
    """The name in a line of `sha256sum`."""
    return line.partition(" ")[2].strip().lstrip("*")


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
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata=metadata)
    _sort_metadata(path)
    path.chmod(mode)  # safetensors makes files for their owner only; runners are another user
    return path


def _sort_metadata(path: Path) -> None:
    """safetensors writes it in an order of chance; so the same weights are always the same bytes."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length
        file.seek(8)
        file.write(text.ljust(length))


def _encoded(value: object) -> dict[str, Any]:
    """A fraction as demucs' files hold it; anything else that JSON does not know is an error."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise TypeError(f"{value!r} cannot be written as JSON")


def _checksums(folder: Path, files: list[Path]) -> str:
    """The folder's SHA256SUMS with these files in it; what it says of others stays."""
    listing = folder / CHECKSUMS
    ours = {file.name: f"{fingerprint(file).sha256}  {file.name}" for file in files}
    lines = listing.read_text().splitlines() if listing.exists() else []
    others = [line for line in lines if _listed(line) not in ours]
    return "".join(f"{line}\n" for line in (*others, *ours.values()))


def main(name: str, folder: str) -> None:
    """The command. Looks where a runner would, and where STEMJOB_WEIGHTS_DIR says first."""
    weights_dir = os.environ.get("STEMJOB_WEIGHTS_DIR")
    try:
        for path in convert(name, Path(folder), Path(weights_dir) if weights_dir else None):
            sys.stdout.write(f"{path}\n")
    except JobFailed as failed:
        sys.exit(f"convert_weights: {failed.failure.error}")
    except Refused as refused:
        sys.exit(f"convert_weights: {refused}")
    except (OSError, SafetensorError) as error:
        sys.exit(f"convert_weights: {folder} cannot be written: {error}.")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m runner.convert_weights NAME FOLDER")
    main(*sys.argv[1:])
