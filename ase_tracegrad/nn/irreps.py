"""Channels: which irreducible representations a feature holds, and its two memory layouts.

* rows: a list over l of (E, 2l+1, c_l), the natural layout for rotations (nodes use it);
* orders: a list over m >= 0, (E, n) for m = 0 and (E, 2, n_m) for m > 0, channels sorted by l so that
  "l >= m" is a tail slice. In the frame of an edge an equivariant linear map is one matrix per m
  acting on this layout (see o2.py), so edge features stay in it for the whole network.

Parity: an irrep is natural if p = (-1)^l and pseudo otherwise. The two components of order m are
(x_-m, x_+m) for natural and (x_+m, -x_-m) for pseudo irreps; with this choice one real matrix serves both.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

Rows = list[Tensor]
Orders = list[Tensor]

_TERM = re.compile(r"^\s*(\d+)x(\d+)([eo])\s*$")


class Channels:
    """Numbers of channels per (l, parity), from a text such as '32x0e+24x1o+8x1e'."""

    def __init__(self, text: str):
        counts: dict[tuple[int, bool], int] = {}
        for term in text.split("+"):
            match = _TERM.match(term)
            if not match:
                raise ValueError(f"cannot read the irreps {text!r}: expected terms such as 32x0e or 8x1o, found {term!r}")
            l = int(match[2])
            natural = (match[3] == "e") == (l % 2 == 0)
            counts[l, natural] = counts.get((l, natural), 0) + int(match[1])
        self.lmax = max(l for l, _ in counts)
        # c_l = natural[l] + pseudo[l]; natural channels come first within an l.
        self.natural = [counts.get((l, True), 0) for l in range(self.lmax + 1)]
        self.pseudo = [counts.get((l, False), 0) for l in range(self.lmax + 1)]

    def __eq__(self, other) -> bool:
        return isinstance(other, Channels) and (self.natural, self.pseudo) == (other.natural, other.pseudo)

    def __hash__(self) -> int:
        return hash((tuple(self.natural), tuple(self.pseudo)))

    def __str__(self) -> str:
        terms = []
        for l in range(self.lmax + 1):
            for count, even in ((self.natural[l], l % 2 == 0), (self.pseudo[l], l % 2 == 1)):
                if count:
                    terms.append(f"{count}x{l}{'e' if even else 'o'}")
        return "+".join(terms)

    @cached_property
    def counts(self) -> list[int]:
        """Channels of each l."""
        return [a + b for a, b in zip(self.natural, self.pseudo, strict=True)]

    @cached_property
    def starts(self) -> list[int]:
        """First channel of each l; also the first channel of the tail l >= m."""
        return [sum(self.counts[:l]) for l in range(self.lmax + 1)]

    @property
    def total(self) -> int:
        """Number of channels n."""
        return sum(self.counts)

    @property
    def scalars(self) -> int:
        """Number of true scalars (0e), which are the first channels."""
        return self.natural[0]

    @cached_property
    def natural_index(self) -> list[int]:
        """Positions of natural channels."""
        return [s + c for s, n in zip(self.starts, self.natural, strict=True) for c in range(n)]

    @cached_property
    def pseudo_index(self) -> list[int]:
        """Positions of pseudo channels."""
        return [s + n + c for s, n, p in zip(self.starts, self.natural, self.pseudo, strict=True) for c in range(p)]

    @cached_property
    def groups(self) -> list[tuple[int, int, int]]:
        """(l, first channel, number of channels) of every (l, parity) present, in channel order."""
        groups = []
        for l, start in enumerate(self.starts):
            for first, count in ((start, self.natural[l]), (start + self.natural[l], self.pseudo[l])):
                if count:
                    groups.append((l, first, count))
        return groups

    def tail(self, m: int) -> int:
        """Number of channels with l >= m."""
        return self.total - self.starts[m] if m <= self.lmax else 0

    # -- between the layouts ---------------------------------------------------------------------

    # Written with unbind, split, cat and stack: the backward pass of a slice fills a whole tensor with zeros.

    def to_orders(self, rows: Rows) -> Orders:
        """Rows in the edge frame -> orders."""
        components = [row.unbind(1) for row in rows]
        orders = [torch.cat([part[l] for l, part in enumerate(components)], dim=1)]
        for m in range(1, self.lmax + 1):
            lower, upper = [], []
            for l in range(m, self.lmax + 1):
                first, second = components[l][l - m], components[l][l + m]
                if self.pseudo[l]:
                    sizes = [self.natural[l], self.pseudo[l]]
                    (first, turned_first), (second, turned_second) = first.split(sizes, 1), second.split(sizes, 1)
                    lower += [first, turned_second]
                    upper += [second, -turned_first]
                else:
                    lower.append(first)
                    upper.append(second)
            orders.append(torch.cat(lower + upper, dim=1).view(len(orders[0]), 2, self.tail(m)))
        return orders

    def to_rows(self, orders: Orders) -> Rows:
        """Orders -> rows in the edge frame."""
        n_pairs = len(orders[0])
        components: list[list[Tensor]] = [[] for _ in self.counts]
        for l, centre in enumerate(orders[0].split(self.counts, dim=1)):
            components[l].append(centre)
        for m in range(1, self.lmax + 1):
            parts = orders[m].reshape(n_pairs, 2 * self.tail(m)).split(2 * self.counts[m:], dim=1)
            tail = len(parts) // 2
            for l, first, second in zip(range(m, self.lmax + 1), parts[:tail], parts[tail:], strict=True):
                if self.pseudo[l]:
                    sizes = [self.natural[l], self.pseudo[l]]
                    (first, turned_second), (second, turned_first) = first.split(sizes, 1), second.split(sizes, 1)
                    first, second = torch.cat([first, -turned_first], 1), torch.cat([second, turned_second], 1)
                components[l] = [first, *components[l], second]
        return [torch.stack(parts, dim=1) for parts in components]

    def pairs_of_views(self, orders: Sequence[Tensor], rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Equal parts of orders (E, 1 or 2, S, n_m) and of rows (E, 2l+1, S, c_l) in the edge frame, and their relative sign."""
        for l, (start, natural, pseudo) in enumerate(zip(self.starts, self.natural, self.pseudo, strict=True)):
            yield orders[0][..., start : start + natural + pseudo], rows[l][:, l : l + 1], 1
            for m in range(1, l + 1):
                first = start - self.starts[m]
                middle, last = first + natural, first + natural + pseudo
                if natural:
                    yield orders[m][..., first:middle], rows[l][:, l - m : l + m + 1 : 2 * m, :, :natural], 1
                if pseudo:
                    yield orders[m][:, 0, :, middle:last], rows[l][:, l + m, :, natural:], 1
                    yield orders[m][:, 1, :, middle:last], rows[l][:, l - m, :, natural:], -1


class NodeAlgebra:
    """The three equivariant operations TraceGrad needs, on rows."""

    def __init__(self, channels: Channels):
        self.channels = channels

    def mix(self, rows: Rows, weights: Sequence[Tensor]) -> Rows:
        """Channel mixing within each group of ``channels.groups``: one matrix (c, r) per group."""
        return [row @ weight for row, weight in zip(rows, self._by_degree(weights), strict=True)]

    def inner(self, a: Rows, b: Rows) -> Tensor:
        """sum_m a_m b_m per channel, (E, n)."""
        return torch.cat([(x * y).sum(1) for x, y in zip(a, b, strict=True)], dim=1)

    def scale(self, rows: Rows, factors: Tensor) -> Rows:
        """Multiply every channel by an invariant, factors (E, n)."""
        split = factors.split([row.shape[2] for row in rows], dim=1)
        return [row * factor[:, None] for row, factor in zip(rows, split, strict=True)]

    def _by_degree(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """One matrix per l: natural and pseudo channels never mix."""
        by_degree: list[list[Tensor]] = [[] for _ in range(self.channels.lmax + 1)]
        for (l, _, _), weight in zip(self.channels.groups, weights, strict=True):
            by_degree[l].append(weight)
        empty = weights[0].new_zeros(0, 0)
        return [(w[0] if len(w) == 1 else torch.block_diag(*w)) if w else empty for w in by_degree]


class EdgeAlgebra(NodeAlgebra):
    """The same operations on orders."""

    def mix(self, orders: Orders, weights: Sequence[Tensor]) -> Orders:
        """Channel mixing: the tail of one block-diagonal matrix serves every order."""
        starts = [0] * len(orders), [0] * len(orders)
        for (l, _, _), weight in zip(self.channels.groups, weights, strict=True):
            for m in range(l + 1, len(orders)):
                starts[0][m] += weight.shape[0]
                starts[1][m] += weight.shape[1]
        return list(_Mix.apply(list(zip(*starts, strict=True)), len(weights), *weights, *orders))

    def inner(self, a: Orders, b: Orders) -> Tensor:
        """sum_m a_m b_m per channel, (E, n)."""
        return _Inner.apply(len(a), *a, *b)

    def scale(self, orders: Orders, factors: Tensor) -> Orders:
        """Multiply every channel by an invariant, factors (E, n)."""
        return list(_Scale.apply(factors, *orders))


def inner_orders(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """sum_m a_m b_m per channel, (E, n); records nothing that autograd could follow."""
    total = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        tail = total[:, total.shape[1] - x.shape[2] :]
        for k in range(2):
            tail.addcmul_(x[:, k], y[:, k])
    return total


def scale_orders(orders: Sequence[Tensor], factors: Tensor) -> Orders:
    """Every channel times its factor (E, n)."""
    n = factors.shape[1]
    return [orders[0] * factors] + [x * factors[:, None, n - x.shape[2] :] for x in orders[1:]]


class _Mix(torch.autograd.Function):
    """Orders times the tails of one block-diagonal matrix; starts: (row, column) where the tail of each order begins."""

    @staticmethod
    def forward(ctx, starts: list[tuple[int, int]], n_weights: int, *tensors: Tensor):
        ctx.starts, ctx.n_weights = starts, n_weights
        ctx.save_for_backward(*tensors)
        matrix = torch.block_diag(*tensors[:n_weights])
        return tuple(x @ matrix[a:, b:] for x, (a, b) in zip(tensors[n_weights:], starts, strict=True))

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        weights, orders = ctx.saved_tensors[: ctx.n_weights], ctx.saved_tensors[ctx.n_weights :]
        matrix = torch.block_diag(*weights)
        of_matrix = torch.zeros_like(matrix)
        of_orders = []
        for x, gradient, (a, b) in zip(orders, gradients, ctx.starts, strict=True):
            of_orders.append(gradient @ matrix[a:, b:].T)
            of_matrix[a:, b:].addmm_(x.flatten(0, -2).T, gradient.flatten(0, -2))
        of_weights, row, column = [], 0, 0
        for weight in weights:
            of_weights.append(of_matrix[row : row + weight.shape[0], column : column + weight.shape[1]])
            row, column = row + weight.shape[0], column + weight.shape[1]
        return None, None, *of_weights, *of_orders


class _Inner(torch.autograd.Function):
    @staticmethod
    def forward(ctx, n: int, *tensors: Tensor):
        ctx.save_for_backward(*tensors)
        return inner_orders(tensors[:n], tensors[n:])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        n = len(ctx.saved_tensors) // 2
        a, b = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        return None, *scale_orders(b, gradient), *scale_orders(a, gradient)


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, factors: Tensor, *orders: Tensor):
        ctx.save_for_backward(factors, *orders)
        return tuple(scale_orders(orders, factors))

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        factors, *orders = ctx.saved_tensors
        of_factors = inner_orders(gradients, orders)
        if len(factors) == 1:
            of_factors = of_factors.sum(0, keepdim=True)
        return of_factors, *scale_orders(gradients, factors)


class NodeLinear(nn.Module):
    """Equivariant linear map of node features: one matrix per (l, parity) that both sides have."""

    def __init__(self, channels_in: Channels, channels_out: Channels, scale: float = 1.0):
        super().__init__()
        self.channels_in, self.channels_out = channels_in, channels_out
        self.natural, self.pseudo = (
            nn.ParameterList(nn.Parameter(scale * torch.randn(a, b) / math.sqrt(max(a, 1))) for a, b in shapes)
            for shapes in zip(*self._shapes(), strict=True)
        )

    def _shapes(self):
        for l in range(self.channels_out.lmax + 1):
            inside = l <= self.channels_in.lmax
            natural_in = self.channels_in.natural[l] if inside else 0
            pseudo_in = self.channels_in.pseudo[l] if inside else 0
            yield (natural_in, self.channels_out.natural[l]), (pseudo_in, self.channels_out.pseudo[l])

    def forward(self, rows: Rows) -> Rows:
        out = []
        for l, (natural, pseudo) in enumerate(zip(self.natural, self.pseudo, strict=True)):
            if l < len(rows):
                out.append(rows[l] @ (torch.block_diag(natural, pseudo) if any(pseudo.shape) else natural))
            else:
                out.append(rows[0].new_zeros(len(rows[0]), 2 * l + 1, self.channels_out.counts[l]))
        return out
