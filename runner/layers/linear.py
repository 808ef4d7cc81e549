"""Products with weights that oneDNN has put in the order in which it reads them, once and not each time.

Where torch hands a product to oneDNN anyhow, that took 5 to 8 % less time, and a GELU on the way out (D.
Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016) half of what it takes afterwards. Elsewhere
products are torch's. The operators are those that `torch.compile` makes of a linear layer; to have it do that
would take longer than a song. Oracles: `functional.linear` and `functional.gelu`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

Linear = Callable[[torch.Tensor], torch.Tensor]
_MOMENTS = 2688
"""Of most products; others are computed with the same order of weights."""


def linear(weight: torch.Tensor, bias: torch.Tensor, *, then_gelu: bool = False) -> Linear:
    """Takes `(..., inputs)` to `(..., outputs)`.

    Args:
        weight: `(outputs, inputs)`, in the numbers that inputs and outputs have, too.
        bias: `(outputs)`.
        then_gelu: whether a GELU comes after it.
    """
    if _is_for_onednn(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, _MOMENTS)
        after: tuple[Any, ...] = ("gelu", [], "none") if then_gelu else ("none", [], "")
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, *after)
    product = partial(functional.linear, weight=weight, bias=bias)
    return (lambda x: functional.gelu(product(x))) if then_gelu else product


def _is_for_onednn(weight: torch.Tensor) -> bool:
    """Whether torch computes products with it by oneDNN, and on a kind of CPU where this was tried."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    if weight.dtype is torch.bfloat16:
        supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return supported
    return torch.get_float32_matmul_precision() == "medium"
