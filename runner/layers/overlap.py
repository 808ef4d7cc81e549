"""The end of a transposed convolution as a product of matrices: the kernel of `runner/kernels/overlap.c`.

Where its kernel is twice its stride s, each step t of the input adds its taps 0 to s - 1 to steps st to
st + s - 1 of the output and the others to the s steps after these (V. Dumoulin, F. Visin, "A guide to
convolution arithmetic for deep learning", 2016, ch. 4). The product has both for each step; here they are
added, with the bias and the GELU after it, and written where they belong. Oracle:
`functional.conv_transpose2d`.
"""

import torch

from runner.kernels import LENGTH, POINTER, kernel
from runner.layers.threads import on_threads

_overlap = kernel("overlap", POINTER, LENGTH, *3 * (POINTER,), *10 * (LENGTH,))
_NUMBERS = (torch.float32, torch.bfloat16)


def overlap(
    halves: torch.Tensor,
    before: torch.Tensor | None,
    bias: torch.Tensor,
    result: torch.Tensor,
    *,
    then_gelu: bool,
) -> None:
    """Fills steps of the output.

    Args:
        halves: `(n, 2, outputs, stride, time)`, the product of n steps of the input.
        before: the second half of the step before these, none where they are the first.
        bias: `(outputs)`, float32.
        result: `(outputs, steps, time)`, with as many steps as there are in n or n + 1 of the input; what the
            one after the last gets is what the last adds to it. float32, or bfloat16 as the halves are.
        then_gelu: whether a GELU comes after it.
    """
    count, _, outputs, stride, time = halves.shape
    steps = result.shape[1] // stride
    assert halves.is_contiguous()
    assert halves.dtype in _NUMBERS
    assert result.dtype in (halves.dtype, torch.float32)
    assert result.shape == (outputs, steps * stride, time)
    assert steps - count in (0, 1)
    assert time < 2 or result.stride(2) == 1
    assert bias.dtype == torch.float32
    assert bias.is_contiguous()
    assert bias.shape == (outputs,)
    earlier = None
    if before is not None:
        assert before.is_contiguous()
        assert (before.shape, before.dtype) == (halves.shape[2:], halves.dtype)
        earlier = before.data_ptr()
    given = halves.data_ptr(), halves.dtype == torch.bfloat16, earlier, bias.data_ptr()
    place = result.data_ptr(), *result.stride()[:2], result.dtype == torch.bfloat16

    def some(first: int, last: int) -> None:
        _overlap(*given, *place, first, last, count, outputs, stride, time, then_gelu)

    threads = torch.get_num_threads()
    on_threads(some, [(i * steps // threads, (i + 1) * steps // threads) for i in range(threads)])
