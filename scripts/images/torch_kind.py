"""Refuses an image whose torch is not the kind that the build asked for: `torch_kind.py cuda|cpu`."""

import sys


def problem(asked: str, cuda: str | None) -> str:
    """What is wrong, in a sentence; empty when nothing is.

    Args:
        asked: `cuda` or `cpu`.
        cuda: the version of CUDA that torch was built for, None for a build for CPUs (`torch.version.cuda`).
    """
    if asked not in ("cuda", "cpu"):
        return f"TORCH is {asked!r}, but it is cuda or cpu."
    found = "cpu" if cuda is None else "cuda"
    if found != asked:
        return f"TORCH={asked} was asked for, but the torch that was installed is a build for {found}."
    return ""


if __name__ == "__main__":
    import torch

    sys.exit(problem(sys.argv[1], torch.version.cuda) or 0)
