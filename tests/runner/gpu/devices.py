"""Where these tests compute: on a GPU where there is one, else on the CPU what a GPU would."""

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
