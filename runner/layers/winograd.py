"""3x3 convolutions in float32 with half as many products: Winograd's filtering of four rows at a time.

Four outputs of a filter of three taps, y_i = g_0 d_i + g_1 d_i+1 + g_2 d_i+2, take twelve products, and as

    y = Aᵀ ((G g) * (Bᵀ d))

no more than the six of `*`, element by element (A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural
Networks", 2015, F(4, 3), after S. Winograd, "Arithmetic Complexity of Computations", 1980). Here g and d are
matrices of weights and rows of a frequency, so each of the six is a product of matrices for each tap in time.
G g is known once and for all, and Bᵀ and Aᵀ are applied as products of matrices, too, which read and write
everything once; one sum after another took up to three times as long. Oracle: `functional.conv2d`, equal to
rounding: a signal to error of 130 dB (48 channels) to 121 dB (384), where direct sums have 136 to 134 dB. In
bfloat16 as much is lost, and there is none to spare.
"""

import torch

ROWS = 4
"""That are computed together."""

_INPUTS = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ]
)
"""Bᵀ."""

_WEIGHTS = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
).div_(24)
"""G."""

_OUTPUTS = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ]
)
"""Aᵀ. Its second column is ones: what is added to the second product is added to each row."""


class WinogradConvolution:
    """A convolution with weights `(outputs, inputs, 3, 3)`, zeros around time and nothing around rows."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        weights = torch.einsum("pr,oirt->tpoi", _WEIGHTS, weight.detach().double())
        self._taps = weights.float().contiguous().unbind()
        self._bias = bias.detach().float()[:, None]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Of `(batch, inputs, 4 n + 2, time)` a view `(batch, n, 4, outputs, time)`."""
        batch, channels, rows, time = x.shape
        fours, steps = (rows - 2) // ROWS, time + 2
        # Each row has a zero before and after it, so that the taps see the same rows, shifted by a step. Two
        # steps beyond all rows only reach what is cut off in the end.
        width = batch * fours * steps
        gathered = x.new_empty(len(_INPUTS), channels, width + 2)
        row = gathered[..., :width].view(-1, channels, batch, fours, steps)
        row[..., :: time + 1] = 0
        row[..., 1:-1] = x.unfold(2, len(_INPUTS), ROWS).permute(4, 1, 0, 2, 3)
        mixed = torch.mm(_INPUTS, gathered.flatten(1)).view_as(gathered)
        products = torch.bmm(self._taps[0], mixed[..., :width])
        for tap in (1, 2):
            products.baddbmm_(self._taps[tap], mixed[..., tap : tap + width])
        products[1] += self._bias
        y = torch.mm(_OUTPUTS, products.flatten(1)).view(ROWS, -1, batch, fours, steps)
        return y[..., :time].permute(2, 3, 0, 1, 4)
