"""O2Linear: the equivariant linear map of edge features, one matrix per |m| in the frame of the edge.

It equals the sum over all filters Y_lf(edge), lf <= l_in + l_out, of fully connected tensor products
with shared weights (the DeepH-E3 and eSCN operation), at a small part of its cost. For m > 0 both
parities and both components share one real matrix; for m = 0 natural and pseudo irreps do not couple.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .irreps import Channels, Orders


class O2Linear(nn.Module):
    """Map the concatenation of several edge features to ``channels_out`` plus ``gates`` extra scalars.

    inputs: layouts of the features, concatenated channel by channel for every order.
    forward returns (orders, extra) with extra (E, gates); gates are appended to the natural m = 0 output.
    """

    def __init__(self, inputs: Sequence[Channels], channels_out: Channels, gates: int = 0):
        super().__init__()
        self.inputs, self.channels_out, self.gates = list(inputs), channels_out, gates
        natural_in = sum(len(c.natural_index) for c in inputs)
        pseudo_in = sum(len(c.pseudo_index) for c in inputs)
        natural_out, pseudo_out = len(channels_out.natural_index) + gates, len(channels_out.pseudo_index)
        self.weight_natural = _linear_weight(natural_in, natural_out)
        self.weight_pseudo = _linear_weight(pseudo_in, pseudo_out)
        self.bias = nn.Parameter(torch.zeros(channels_out.scalars + gates))
        self.mmax = min(max(c.lmax for c in inputs), channels_out.lmax)
        self.weights = nn.ParameterList(
            _linear_weight(sum(c.tail(m) for c in inputs), channels_out.tail(m)) for m in range(1, self.mmax + 1)
        )

    def forward(self, features: Sequence[Orders], n_pairs: int | None = None) -> tuple[Orders, Tensor]:
        """features: one for each of ``inputs``; if fewer, the first of them holds several joined atoms, see frames.py.
        n_pairs: use the first pairs only."""
        joined = len(self.inputs) - len(features) + 1
        layouts = [self.inputs[:joined], *([c] for c in self.inputs[joined:])]
        plan = _Plan(layouts, self.channels_out, self.gates, self.mmax, len(features[0][0]) if n_pairs is None else n_pairs)
        flat = [order for feature, layout in zip(features, layouts, strict=True) for order in feature[: plan.orders_of(layout)]]
        extra, *out = _Product.apply(plan, self.bias, self.weight_natural, self.weight_pseudo, *self.weights, *flat)
        return out, extra


@dataclass(frozen=True)
class _Plan:
    """What is multiplied with what: layouts of each feature (several if atoms are joined), mmax: highest order of a product."""

    layouts: list[list[Channels]]
    out: Channels
    gates: int
    mmax: int
    n_pairs: int

    def orders_of(self, layout: list[Channels]) -> int:
        """Orders of a feature that enter."""
        return min(layout[0].lmax, self.mmax) + 1

    def part(self, flat: Sequence[Tensor]) -> list[list[Tensor]]:
        """Matrices side by side: of the natural m = 0 channels, the pseudo ones, and every m > 0."""
        matrices: list[list[Tensor]] = [[] for _ in range(self.mmax + 2)]
        orders = iter(flat)
        for layout in self.layouts:
            natural, pseudo = _split_parities(next(orders)[: self.n_pairs], layout)
            matrices[0].append(natural)
            matrices[1].append(pseudo)
            for m in range(1, self.orders_of(layout)):
                matrices[m + 1].append(next(orders)[: self.n_pairs].flatten(0, 1))
        return matrices

    def join(self, matrices: Sequence[Sequence[Tensor]], n_all: int) -> list[Tensor]:
        """The reverse of ``part``, with zeros for the other pairs."""
        parts = [iter(matrix) for matrix in matrices]
        flat = []
        for layout in self.layouts:
            flat.append(_join_parities(next(parts[0]), next(parts[1]), layout))
            flat += [next(parts[m + 1]).unflatten(0, (self.n_pairs, 2)) for m in range(1, self.orders_of(layout))]
        if n_all == self.n_pairs:
            return flat
        return [torch.cat([x, x.new_zeros(n_all - self.n_pairs, *x.shape[1:])]) for x in flat]


class _Product(torch.autograd.Function):
    """(extra, orders) from a plan, the bias, a matrix for each item of ``_Plan.part``, and the orders of the features."""

    @staticmethod
    def forward(ctx, plan: _Plan, bias: Tensor, *tensors: Tensor):
        weights, flat = tensors[: plan.mmax + 2], tensors[plan.mmax + 2 :]
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        parts = plan.part(flat)
        scalars, natural_out = plan.out.scalars, weights[0].shape[1] - plan.gates
        padded = torch.cat([bias[:scalars], bias.new_zeros(natural_out - scalars), bias[scalars:]])
        natural, extra = _multiply(parts[0], weights[0], padded).split([natural_out, plan.gates], dim=1)
        out = [_join_parities(natural, _multiply(parts[1], weights[1]), [plan.out])]
        out += [
            _multiply(part, weight).unflatten(0, (plan.n_pairs, 2)) for part, weight in zip(parts[2:], weights[2:], strict=True)
        ]
        for m in range(plan.mmax + 1, plan.out.lmax + 1):
            out.append(natural.new_zeros(len(natural), 2, plan.out.tail(m)))
        return extra, *out

    @staticmethod
    def backward(ctx, extra: Tensor, *gradients: Tensor):
        plan = ctx.plan
        weights, flat = ctx.saved_tensors[: plan.mmax + 2], ctx.saved_tensors[plan.mmax + 2 :]
        natural, pseudo = _split_parities(gradients[0], [plan.out])
        natural = torch.cat([natural, extra], dim=1)
        total = natural.sum(0)
        bias = torch.cat([total[: plan.out.scalars], total[len(total) - plan.gates :]])
        products = [natural, pseudo, *(g.flatten(0, 1) for g in gradients[1 : plan.mmax + 1])]
        of_parts, of_weights = [], []
        for part, weight, gradient in zip(plan.part(flat), weights, products, strict=True):
            of_weight, first, of_part = torch.empty_like(weight), 0, []
            for x in part:
                rows = slice(first, first + x.shape[1])
                of_weight[rows].addmm_(x.T, gradient, beta=0)
                of_part.append(gradient @ weight[rows].T)
                first = rows.stop
            of_weights.append(of_weight)
            of_parts.append(of_part)
        return None, bias, *of_weights, *plan.join(of_parts, len(flat[0]))


def _multiply(parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Concatenation of the parts @ weight + bias, without the concatenation."""
    product, first = bias, 0
    for x in parts:
        rows = weight[first : first + x.shape[1]]
        if product is None:
            product = x @ rows
        elif product is bias:
            product = torch.addmm(bias, x, rows)
        else:
            product.addmm_(x, rows)
        first += x.shape[1]
    assert product is not None
    return product


def _split_parities(x: Tensor, layout: Sequence[Channels]) -> tuple[Tensor, Tensor]:
    """Natural and pseudo channels of m = 0."""
    if not any(any(c.pseudo) for c in layout):
        return x, x[:, :0]
    parts = x.split([count for c in layout for both in zip(c.natural, c.pseudo, strict=True) for count in both], dim=1)
    return torch.cat(parts[::2], dim=1), torch.cat(parts[1::2], dim=1)


def _join_parities(natural: Tensor, pseudo: Tensor, layout: Sequence[Channels]) -> Tensor:
    """The reverse of _split_parities."""
    if not pseudo.shape[1]:
        return natural
    first = natural.split([count for c in layout for count in c.natural], dim=1)
    second = pseudo.split([count for c in layout for count in c.pseudo], dim=1)
    return torch.cat([part for both in zip(first, second, strict=True) for part in both], dim=1)


def _linear_weight(n_in: int, n_out: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(n_in, n_out) / math.sqrt(max(n_in, 1)))
