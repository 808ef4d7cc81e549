"""A model by its name: Demucs' own classes and loaders, and one clear sentence when it cannot be had."""

import hashlib
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
import torch
from demucs.apply import BagOfModels
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from demucs.repo import check_checksum
from demucs.states import load_model as load_pickled_model

from contract.failures import FailureCode, JobFailed
from runner.separation import STEMS
from runner.uninitialised import uninitialised
from runner.weight_files import BrokenDefinition, WeightFiles, fetch, locate

log = structlog.get_logger(__name__)

CHECKSUMS = "SHA256SUMS"
"""A file of this name beside the weights, as `sha256sum` writes it, must list them and agree."""

STAMPED = re.compile(r"-([0-9a-f]{8})$")
"""Demucs' own files are named after the beginning of their SHA-256."""

FALLBACK_WARNING = (
    "The weights of htdemucs are not on this machine and could not be downloaded, so the song was"
    " separated with the small bundled model, whose quality is far lower."
)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for `runner.separation.Separator`.

    `name` is what the asked name came to. `sha256` is that of the file of weights; for a bag of several files
    it is the SHA-256 of their SHA-256 sums in hex, in the bag's order, each followed by a newline.
    """

    name: str
    model: torch.nn.Module
    sample_rate: int
    sha256: str
    warnings: tuple[str, ...] = ()


def load_model(name: str, weights_dir: Path | None = None) -> LoadedModel:
    """Loads a model that the operator has listed.

    Args:
        name: `auto` (htdemucs where its weights are there or can be fetched, else `bundled`), or what
            `runner.weight_files.locate` understands. Weights are code: never a name from a stranger.
        weights_dir: a folder that is looked at before the caches and the network.

    Raises:
        JobFailed: weights_unavailable, weights_corrupt, unsupported_model.
    """
    if name != "auto":
        return _load_named(name, weights_dir)
    try:
        return _load_named("htdemucs", weights_dir)
    except JobFailed as failed:
        if failed.failure.code is not FailureCode.WEIGHTS_UNAVAILABLE:
            raise
    log.warning("bundled_model_instead_of_htdemucs")
    return replace(_load_named("bundled", weights_dir), warnings=(FALLBACK_WARNING,))


def _load_named(name: str, weights_dir: Path | None) -> LoadedModel:
    try:
        files = locate(name, weights_dir)
        if files is None and fetch(name):
            files = locate(name, weights_dir)
        sums = None if files is None else [_sha256(path) for path in files.paths]
    except OSError as error:
        raise _unavailable(name) from error
    except BrokenDefinition as error:
        raise _corrupt(name) from error
    if files is None or sums is None:
        raise _unavailable(name)
    _check_sums(name, files.paths, sums)
    model = _load(name, files)
    _check_model(name, model)
    return LoadedModel(name, model, int(model.samplerate), _sum_of_sums(sums))


def _load(name: str, files: WeightFiles) -> "BagOfModels | Demucs | HDemucs | HTDemucs":
    try:
        models = [load_file(path) for path in files.paths]
        return BagOfModels(models, files.weights, files.segment) if files.bag else models[0]
    except (MemoryError, JobFailed):
        raise
    except (SystemExit, ImportError) as error:  # Demucs leaves by sys.exit where diffq is missing
        raise JobFailed(
            FailureCode.UNSUPPORTED_MODEL, f"The model {name} needs software that this runner does not have."
        ) from error
    except Exception as error:  # whatever pickle, safetensors, json and torch say of damaged files
        raise _corrupt(name) from error


def load_file(path: Path) -> "Demucs | HDemucs | HTDemucs":
    """One network. Float32 safetensors are not copied: the parameters are the mapped file.

    Such a file may be replaced by another of its name while this process lives, but not written to.
    """
    with warnings.catch_warnings(), uninitialised():
        warnings.simplefilter("ignore")  # about arguments of old weights that newer classes do not know
        if path.suffix == ".safetensors":
            model = load_safetensors_model(path)
        else:
            if stamped := STAMPED.search(path.stem):
                check_checksum(path, stamped[1])
            model = load_pickled_model(path)  # type: ignore[no-untyped-call]
    model.eval()
    return model


def _check_model(name: str, model: torch.nn.Module) -> None:
    networks = list(getattr(model, "models", [model]))
    if not all(isinstance(network, Demucs | HDemucs | HTDemucs) for network in networks):
        raise JobFailed(FailureCode.UNSUPPORTED_MODEL, f"The model {name} is not a Demucs model.")
    for network in networks:
        if sorted(network.sources) != sorted(STEMS):
            sources = ", ".join(map(str, network.sources))
            raise JobFailed(
                FailureCode.UNSUPPORTED_MODEL,
                f"The model {name} separates {sources}; only drums, bass, other and vocals are supported.",
            )
        if network.audio_channels != 2:
            raise JobFailed(FailureCode.UNSUPPORTED_MODEL, f"The model {name} is not a stereo model.")
    # One number that is none makes the sum none; ten times as fast as asking each.
    if not all(math.isfinite(float(parameter.detach().sum())) for parameter in model.parameters()):
        raise _corrupt(name)


def _check_sums(name: str, paths: Iterable[Path], sums: Iterable[str]) -> None:
    for path, actual in zip(paths, sums, strict=True):
        listing = path.parent / CHECKSUMS
        if not listing.is_file():
            continue
        lines = (line.partition(" ") for line in listing.read_text().splitlines())
        expected = {file.strip().lstrip("*"): digest for digest, _, file in lines}
        if expected.get(path.name) != actual:
            raise _corrupt(name)


def _sum_of_sums(sums: list[str]) -> str:
    if len(sums) == 1:
        return sums[0]
    return hashlib.sha256("".join(f"{each}\n" for each in sums).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unavailable(name: str) -> JobFailed:
    return JobFailed(
        FailureCode.WEIGHTS_UNAVAILABLE,
        f"The weights of the model {name} are not on this machine and could not be downloaded.",
    )


def _corrupt(name: str) -> JobFailed:
    return JobFailed(FailureCode.WEIGHTS_CORRUPT, f"The weights of the model {name} are damaged.")
