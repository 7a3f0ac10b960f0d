"""The product of two features, channel by channel: a Clebsch-Gordan product of every pair of degrees, weighted path by path.

A path (l1, l2 -> l3) has one weight for each channel and row:
    out_l3[m3] = sum over paths of w n(l3) sum over m1, m2 of C^{l1 l2 l3}[m1, m2, m3] a_l1[m1] b_l2[m2],
    n(l3) = sqrt((2 l3 + 1) / number of paths into l3), with C of e3nn. No direction is
distinguished, so no frame makes it sparse. It is computed for few rows at a time, whose intermediate products stay in the
cache, and computed again for the derivatives: nothing but the inputs is kept for them.
"""

import math
from dataclasses import dataclass

import torch
from e3nn.o3 import wigner_3j
from torch import Tensor, nn

from .irreps import Channels, Rows

CHUNK = 4096  # columns (rows times channels) that are multiplied at once on a CPU


@dataclass(frozen=True)
class ProductPath:
    """Number of the path, its output (l3, first channel of it), and its part of the table of (l1, l2).

    mirror: number of the path (l2, l1 -> l3), whose values for (b, a) are ``sign`` times those of this one for (a, b).
    """

    number: int
    mirror: int
    sign: int
    l3: int
    first: int
    part: slice


class ChannelProduct(nn.Module):
    """Rows a, b of ``channels`` natural irreps each of l = 0..lmax -> rows of ``out``, whose irreps have as many channels or none.

    Inputs of natural parity give natural (l1 + l2 + l3 even) and pseudo irreps, which ``out`` keeps apart: that makes the
    product equivariant under inversion too. ``paths`` lists (l1, l2, l3), in the order of the weights.
    """

    def __init__(self, channels: int, lmax: int, out: Channels):
        super().__init__()
        self.channels, self.lmax, self.out = channels, lmax, out
        self.groups: list[tuple[int, int, list[ProductPath]]] = []
        chosen = [(a, b) for a in range(lmax + 1) for b in range(lmax + 1)]
        into = {(l, p): sum(l in self._degrees(a, b, p) for a, b in chosen) for l in range(out.lmax + 1) for p in (0, 1)}
        self.paths = [(a, b, l) for a, b in chosen for l in sorted([*self._degrees(a, b, 0), *self._degrees(a, b, 1)])]
        for a, b in chosen:
            members, tables, row = [], [], 0
            for number, (_, _, l) in ((k, path) for k, path in enumerate(self.paths) if path[:2] == (a, b)):
                parity = (a + b + l) % 2
                first = out.natural[l] if parity else 0
                mirror = self.paths.index((b, a, l))
                members.append(ProductPath(number, mirror, -1 if parity else 1, l, first, slice(row, row + 2 * l + 1)))
                norm = math.sqrt((2 * l + 1) / into[l, parity])
                tables.append(wigner_3j(a, b, l, dtype=torch.float64).permute(2, 0, 1).flatten(1) * norm)
                row += 2 * l + 1
            if members:
                self.register_buffer(f"table_{len(self.groups)}", torch.cat(tables), persistent=False)
                self.groups.append((a, b, members))

    def _degrees(self, a: int, b: int, parity: int) -> list[int]:
        """l3 of the paths from (a, b) into irreps of ``out``; parity: l1 + l2 + l3 modulo 2."""
        kept = self.out.pseudo if parity else self.out.natural
        return [l for l in range(abs(a - b), min(a + b, self.out.lmax) + 1) if (a + b + l) % 2 == parity and kept[l]]

    @property
    def n_weights(self) -> int:
        """Weights of one row: channels of the first path, of the second, ..."""
        return len(self.paths) * self.channels

    def forward(self, a: Rows, b: Rows, *weights: Tensor) -> list[Rows]:
        """The product of a and b and, if weights for it are given as well, that of b and a, which costs little more.

        weights (rows, n_weights) of each of them, or (1, n_weights) if all rows share them.
        """
        tables = [self.get_buffer(f"table_{k}") for k in range(len(self.groups))]
        flat = _Product.apply(self, tables, len(weights), *weights, *a, *b)
        n = self.out.lmax + 1
        return [list(flat[side * n : (side + 1) * n]) for side in range(len(weights))]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, product: ChannelProduct, tables: list[Tensor], sides: int, *tensors: Tensor):
        ctx.product, ctx.tables, ctx.sides = product, tables, sides
        ctx.save_for_backward(*tensors)
        weights, rows = tensors[:sides], tensors[sides:]
        n, c, degrees = len(rows[0]), product.channels, product.lmax + 1
        out = [[rows[0].new_zeros(n, 2 * l + 1, count) for l, count in enumerate(product.out.counts)] for _ in weights]
        for part in _chunks(n, c, rows[0].is_cuda):
            columns = [row[part].transpose(0, 1) for row in rows]
            parts = [_of_paths(weight, part, c) for weight in weights]
            for (l1, l2, members), table in zip(product.groups, tables, strict=True):
                values = table @ _outer(columns[l1], columns[degrees + l2])
                for path in members:
                    value = values[path.part].view(2 * path.l3 + 1, -1, c)
                    for side, weight in enumerate(parts):
                        _part_of(out[side], path, part, c).addcmul_(value, weight[:, _number(path, side)], value=_sign(path, side))
        return tuple(row for rows in out for row in rows)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        product, tables, sides = ctx.product, ctx.tables, ctx.sides
        weights, rows = ctx.saved_tensors[:sides], ctx.saved_tensors[sides:]
        n, c, degrees, outputs = len(rows[0]), product.channels, product.lmax + 1, product.out.lmax + 1
        of_rows, of_weights = [torch.zeros_like(row) for row in rows], [torch.zeros_like(weight) for weight in weights]
        for part in _chunks(n, c, rows[0].is_cuda):
            columns = [row[part].transpose(0, 1).contiguous() for row in rows]
            of_columns = [torch.zeros_like(column) for column in columns]
            parts, of_parts = ([_of_paths(x, part, c) for x in tensors] for tensors in (weights, of_weights))
            for (l1, l2, members), table in zip(product.groups, tables, strict=True):
                a, b = columns[l1], columns[degrees + l2]
                values = (table @ _outer(a, b)).view(-1, *a.shape[1:])
                of_values = torch.zeros_like(values)
                for path in members:
                    for side, (weight, of_weight) in enumerate(zip(parts, of_parts, strict=True)):
                        number, sign = _number(path, side), _sign(path, side)
                        gradient = _part_of(gradients[side * outputs : (side + 1) * outputs], path, part, c)
                        of_values[path.part].addcmul_(gradient, weight[:, number], value=sign)
                        share = (values[path.part] * gradient).sum(0)
                        of_weight[:, number].add_(share if len(weight) == len(share) else share.sum(0), alpha=sign)
                of_outer = (table.T @ of_values.flatten(1)).view(len(a), len(b), *a.shape[1:])
                of_columns[l1] += (of_outer * b).sum(1)
                of_columns[degrees + l2] += (of_outer * a[:, None]).sum(0)
            for target, column in zip(of_rows, of_columns, strict=True):
                target[part] = column.transpose(0, 1)
        return None, None, None, *of_weights, *of_rows


def _number(path: ProductPath, side: int) -> int:
    return path.mirror if side else path.number


def _sign(path: ProductPath, side: int) -> int:
    return path.sign if side else 1


def _part_of(rows, path: ProductPath, part: slice, channels: int) -> Tensor:
    """What a path gives to some rows of its output, (2 l3 + 1, rows, channels)."""
    return rows[path.l3][part].transpose(0, 1)[:, :, path.first : path.first + channels]


def _chunks(n: int, channels: int, whole: bool) -> list[slice]:
    size = max(n, 1) if whole else max(CHUNK // channels, 1)
    return [slice(first, min(first + size, n)) for first in range(0, n, size)]


def _of_paths(weights: Tensor, part: slice, channels: int) -> Tensor:
    """The weights of some rows, (rows or 1, paths, channels)."""
    return (weights if len(weights) == 1 else weights[part]).view(-1, weights.shape[1] // channels, channels)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """All products of components: (n1, rows, c) x (n2, rows, c) -> (n1 n2, rows c)."""
    products = a.new_empty(len(a), len(b), *a.shape[1:])
    torch.mul(a[:, None], b, out=products)
    return products.view(len(a) * len(b), -1)
