"""The product of a feature with the harmonics of its pair, channel by channel, with weights of its own for every pair.

A path (input l1, filter lf, output l3) has one weight for each channel and pair:
    out_l3 = sum over paths of w sqrt((2 l3 + 1) / number of paths into l3) C^{l1 lf l3} x_l1 Y_lf,  |Y_lf|^2 = 2 lf + 1,
with C of e3nn. In the frame of the pair only m = 0 of the harmonics is left, so that for every channel it is a small matrix
(l3, l1) for each |m|, with the elements sum over lf of C^{l1 lf l3}[m, 0, m] sqrt(2 lf + 1) n w: exactly the same at
a part of the cost. All irreps here are natural.
"""

import math

import torch
from e3nn.o3 import wigner_3j
from torch import Tensor, nn

from .irreps import Orders


class ChannelConvolution(nn.Module):
    """Orders of l = 0..lmax_in -> orders of l = 0..lmax_out, ``channels`` of every l; filters up to filter_lmax.

    ``paths`` lists (l1, lf, l3), in the order of the weights.
    """

    table: Tensor

    def __init__(self, channels: int, lmax_in: int, lmax_out: int, filter_lmax: int):
        super().__init__()
        self.channels, self.lmax_in, self.lmax_out = channels, lmax_in, lmax_out
        self.paths = [
            (l1, lf, l3)
            for l1 in range(lmax_in + 1)
            for l3 in range(lmax_out + 1)
            for lf in range(abs(l1 - l3), min(l1 + l3, filter_lmax) + 1, 2)
        ]
        # Elements (m, l3, l1) of the matrices, those of one m together.
        elements = [
            (m, l3, l1) for m in range(min(lmax_in, lmax_out) + 1) for l3 in range(m, lmax_out + 1) for l1 in range(m, lmax_in + 1)
        ]
        into = [sum(path[2] == l3 for path in self.paths) for l3 in range(lmax_out + 1)]
        table = torch.zeros(len(elements), len(self.paths), dtype=torch.float64)
        for number, (l1, lf, l3) in enumerate(self.paths):
            coupling = wigner_3j(l1, lf, l3, dtype=torch.float64) * math.sqrt((2 * lf + 1) * (2 * l3 + 1) / into[l3])
            for row, (m, to, start) in enumerate(elements):
                if (start, to) == (l1, l3):
                    table[row, number] = coupling[l1 - m, lf, l3 - m]
        self.register_buffer("table", table, persistent=False)

    @property
    def n_weights(self) -> int:
        """Weights of one pair: channels of the first path, of the second, ..."""
        return len(self.paths) * self.channels

    def forward(self, x: Orders, weights: Tensor) -> Orders:
        """x: orders of E pairs in their frames; weights (E, n_weights)."""
        n = len(weights)
        matrices = torch.bmm(self.table.expand(n, -1, -1), weights.view(n, len(self.paths), self.channels))
        out = list(_Multiply.apply(self.channels, self.lmax_out, matrices, *x[: self.lmax_out + 1]))
        for m in range(len(out), self.lmax_out + 1):
            out.append(out[0].new_zeros(n, 2, (self.lmax_out - m + 1) * self.channels))
        return out


class _Multiply(torch.autograd.Function):
    """Matrices (E, elements, channels) times orders; channels are never mixed."""

    @staticmethod
    def forward(ctx, channels: int, lmax_out: int, matrices: Tensor, *x: Tensor):
        ctx.channels, ctx.lmax_out = channels, lmax_out
        ctx.save_for_backward(matrices, *x)
        out = []
        for m, (matrix, feature) in enumerate(zip(_split(matrices, x, channels, lmax_out), x, strict=True)):
            part = _by_degree(feature, channels)
            total = matrix.new_zeros(len(part), part.shape[1], matrix.shape[1], channels)
            for l in range(part.shape[2]):
                total.addcmul_(matrix[:, None, :, l], part[:, :, l, None])
            out.append(total.flatten(1) if m == 0 else total.flatten(2))
        return tuple(out)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        channels, (matrices, *x) = ctx.channels, ctx.saved_tensors
        of_matrices, of_x = torch.empty_like(matrices), []
        targets = _split(of_matrices, x, channels, ctx.lmax_out)
        for matrix, target, feature, gradient in zip(
            _split(matrices, x, channels, ctx.lmax_out), targets, x, gradients, strict=True
        ):
            part, of_out = _by_degree(feature, channels), _by_degree(gradient, channels)
            of_part = torch.empty_like(part)
            for l in range(part.shape[2]):
                target[:, :, l] = (of_out * part[:, :, l, None]).sum(1)
                of_part[:, :, l] = (of_out * matrix[:, None, :, l]).sum(2)
            of_x.append(of_part.view_as(feature))
        return None, None, of_matrices, *of_x


def _split(matrices: Tensor, x, channels: int, lmax_out: int) -> list[Tensor]:
    """The matrix of each order, (E, l3, l1, channels)."""
    widths = [part.shape[-1] // channels for part in x]
    sizes = [(lmax_out - m + 1) * width for m, width in enumerate(widths)]
    parts = matrices.split(sizes, dim=1)
    return [part.unflatten(1, (-1, width)) for part, width in zip(parts, widths, strict=True)]


def _by_degree(order: Tensor, channels: int) -> Tensor:
    """(E, 1 or 2, degrees, channels) of one order."""
    return order.reshape(len(order), 2 if order.dim() == 3 else 1, order.shape[-1] // channels, channels)
