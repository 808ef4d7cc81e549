"""Writes the averaged weights of a checkpoint as the file that `demucs.hf.load_safetensors_model` reads.

Usage:
    python -m training.export [--checkpoint training/runs/default/checkpoint.pt]
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


def export(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the averaged weights in fp16 together with the model's class, arguments, seed and steps."""
    tensors = {name: value.to(torch.float16).contiguous() for name, value in checkpoint.average.items()}
    metadata = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": json.dumps([]),
        "kwargs": json.dumps({name: encode(value) for name, value in ARGUMENTS.items()}),
        "seed": str(checkpoint.seed),
        "steps": str(checkpoint.step),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)
    # safetensors creates files that only their owner can read.
    path.chmod(0o644)


def main() -> None:
    """Exports the checkpoint of a run."""
    parser = argparse.ArgumentParser(description="Export a checkpoint as safetensors.")
    parser.add_argument("--checkpoint", type=Path, default=Path("training/runs/default/checkpoint.pt"))
    parser.add_argument("--out", type=Path, default=Path("runner/models/bundled.safetensors"))
    options = parser.parse_args()
    checkpoint = Checkpoint.load(options.checkpoint)
    export(checkpoint, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB, {checkpoint.step} steps")


if __name__ == "__main__":
    main()
