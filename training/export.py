"""Writes the averaged weights of a run as the file that `demucs.hf.load_safetensors_model` reads.

Of several runs that began with the same weights the mean is written, which is often better than each
(M. Wortsman et al., "Model soups", ICML 2022).

Usage:
    python -m training.export [--checkpoints training/runs/default/checkpoint.pt ...]
        [--out runner/models/bundled.safetensors]
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from training.model import ARGUMENTS, Checkpoint


def encode(value: Any) -> Any:
    """A model argument as JSON value; fractions in the form that `demucs.hf` decodes."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    return value


def export(checkpoints: list[Checkpoint], path: Path) -> None:
    """Writes the mean of the averaged weights in fp16 with the model's class, arguments, seeds and steps."""
    tensors = {
        name: torch.stack([checkpoint.average[name].float() for checkpoint in checkpoints])
        .mean(dim=0)
        .to(torch.float16)
        for name in checkpoints[0].average
    }
    metadata = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": json.dumps([]),
        "kwargs": json.dumps({name: encode(value) for name, value in ARGUMENTS.items()}),
        "seed": ",".join(str(checkpoint.seed) for checkpoint in checkpoints),
        "steps": ",".join(str(checkpoint.step) for checkpoint in checkpoints),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)
    # safetensors creates files that only their owner can read.
    path.chmod(0o644)


def main() -> None:
    """Exports the checkpoint of a run."""
    default = Path("training/runs/default/checkpoint.pt")
    parser = argparse.ArgumentParser(description="Export checkpoints as safetensors.")
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=[default])
    parser.add_argument("--out", type=Path, default=Path("runner/models/bundled.safetensors"))
    options = parser.parse_args()
    checkpoints = [Checkpoint.load(path) for path in options.checkpoints]
    export(checkpoints, options.out)
    steps = " and ".join(str(checkpoint.step) for checkpoint in checkpoints)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB, {steps} steps")


if __name__ == "__main__":
    main()
