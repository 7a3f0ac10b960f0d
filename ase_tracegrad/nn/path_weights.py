"""A tensor product with the harmonics of the pair, its weights kept path by path, applied as one matrix per |m|.

DeepH-E3 (arXiv 2210.13955) convolves (x_i, x_j, e_ij) with Y_lf(pair), lf <= filter_lmax. A path (input irrep l1, filter lf,
output irrep l3) has the weight w[u, w] = inner[u, w] outer[w]. In the frame of the pair only m = 0 of the filter is left, so
    W_m[u, w] = sum over lf of C^{l1 lf l3}[m, 0, m] sqrt(2 lf + 1) n(l3) inner[u, w] outer[w],
    n(l3) = sqrt((2 l3 + 1) / (number of paths into l3 * channels of l1)),
with C of e3nn and n as in e3nn 0.3.5, on which DeepH-E3 was published. On-site pairs have no direction: Y_lf(0) = 0 for
lf > 0, so they see the paths with lf = 0 only, in any axes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from e3nn.o3 import wigner_3j
from torch import Tensor, nn

from .irreps import Channels, Orders


@dataclass(frozen=True)
class ProductPath:
    """One path: input feature number part, its irrep (l1, natural1), filter lf, output irrep (l3, natural3); where its weights
    begin in the flat inner and outer weights, and their shape (c1, c3)."""

    part: int
    l1: int
    natural1: bool
    lf: int
    l3: int
    natural3: bool
    inner_start: int
    outer_start: int
    shape: tuple[int, int]


def reachable(inputs: Sequence[Channels], filter_lmax: int, wanted: Channels) -> Channels:
    """The irreps of ``wanted`` that some path leads to."""
    irreps = {(l, natural) for channels in inputs for l, natural, _, _ in irreps_of(channels)}
    kept = [
        f"{count}x{l}{'e' if (l % 2 == 0) == natural else 'o'}"
        for l, natural, _, count in irreps_of(wanted)
        if any(filters_between(l1, natural1, l, natural, filter_lmax) for l1, natural1 in irreps)
    ]
    return Channels("+".join(kept) or "0x0e")


def irreps_of(channels: Channels) -> list[tuple[int, bool, int, int]]:
    """(l, natural, first channel, number of channels) of every irrep present, in channel order."""
    return [(l, first < channels.starts[l] + channels.natural[l], first, count) for l, first, count in channels.groups]


def filters_between(l1: int, natural1: bool, l3: int, natural3: bool, filter_lmax: int) -> list[int]:
    """The lf of the harmonics that couple two irreps; parity fixes whether l1 + lf + l3 is even or odd."""
    filters = range(abs(l1 - l3), min(l1 + l3, filter_lmax) + 1)
    return [lf for lf in filters if ((l1 + lf + l3) % 2 == 0) == (natural1 == natural3)]


class PathConvolution(nn.Module):
    """Map pair features to ``out`` plus ``gates`` scalars, which join the paths into the 0e of ``out``.

    inputs: layouts of the features. forward takes them for the off-site pairs, in their frames, followed by n_onsite on-site
    pairs in the common axes, and returns (orders, gates (pairs, gates)).
    """

    natural_index: Tensor
    pseudo_index: Tensor
    merge_index: Tensor
    outer_index: Tensor
    source_index: Tensor
    target_index: Tensor
    coefficient: Tensor

    def __init__(self, inputs: Sequence[Channels], out: Channels, gates: int, filter_lmax: int):
        super().__init__()
        self.inputs, self.out, self.gates, self.filter_lmax = list(inputs), out, gates, filter_lmax
        self.paths = self._find_paths()
        shapes = [path.shape for path in self.paths]
        self.inner = nn.Parameter(torch.randn(sum(a * b for a, b in shapes)))
        self.outer = nn.Parameter(torch.randn(sum(b for _, b in shapes)))
        self.sizes = self._matrix_shapes()
        natural, pseudo, first = [], [], 0
        for channels in self.inputs:
            natural += [first + k for k in channels.natural_index]
            pseudo += [first + k for k in channels.pseudo_index]
            first += channels.total
        merged = out.natural_index + out.pseudo_index
        indices = {"natural": natural, "pseudo": pseudo, "merge": np.argsort(merged)}
        indices["outer"] = np.concatenate(
            [np.tile(np.arange(b) + path.outer_start, a) for path in self.paths for a, b in [path.shape]]
        )
        sources, targets, coefficients = self._entries()
        for name, index in {**indices, "source": sources, "target": targets}.items():
            self.register_buffer(f"{name}_index", torch.as_tensor(np.array(index, dtype=np.int64)), persistent=False)
        self.register_buffer("coefficient", torch.from_numpy(coefficients), persistent=False)

    def _find_paths(self) -> list[ProductPath]:
        paths, inner, outer = [], 0, 0
        for part, channels in enumerate(self.inputs):
            for l1, natural1, _, c1 in irreps_of(channels):
                for l3, natural3, _, c3 in irreps_of(self.out):
                    columns = c3 + (self.gates if l3 == 0 and natural3 else 0)
                    for lf in filters_between(l1, natural1, l3, natural3, self.filter_lmax):
                        paths.append(ProductPath(part, l1, natural1, lf, l3, natural3, inner, outer, (c1, columns)))
                        inner, outer = inner + c1 * columns, outer + columns
        return paths

    def _matrix_shapes(self) -> list[tuple[int, int]]:
        """Shapes of the matrices: m = 0 natural, m = 0 pseudo, then every m > 0; off-site, and once more on-site."""
        natural_in, pseudo_in = (sum(len(index(c)) for c in self.inputs) for index in (_natural, _pseudo))
        shapes = [(natural_in, len(self.out.natural_index) + self.gates), (pseudo_in, len(self.out.pseudo_index))]
        shapes += [(sum(c.tail(m) for c in self.inputs), self.out.tail(m)) for m in range(1, self.out.lmax + 1)]
        return 2 * shapes

    def _entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every matrix element as a sum of coefficient * (inner * outer)[source], collected at its flat target."""
        into = {(p.l3, p.natural3): sum((q.l3, q.natural3) == (p.l3, p.natural3) for q in self.paths) for p in self.paths}
        starts = np.concatenate([[0], np.cumsum([a * b for a, b in self.sizes])])
        sources, targets, coefficients = [], [], []
        for p in self.paths:
            c1, c3 = p.shape
            norm = math.sqrt((2 * p.l3 + 1) * (2 * p.lf + 1) / (into[p.l3, p.natural3] * c1))
            coupling = wigner_3j(p.l1, p.lf, p.l3, dtype=torch.float64).numpy() * norm
            for m in range(min(p.l1, p.l3) + 1):
                if m == 0 and p.natural1 != p.natural3:
                    continue
                value = coupling[p.l1 + (-m if p.natural1 else m), p.lf, p.l3 + (-m if p.natural3 else m)]
                number = m + 1 if m else 0 if p.natural1 else 1
                for matrix in (number, number + len(self.sizes) // 2) if p.lf == 0 else (number,):
                    rows, columns = self._rows(p, m), self._columns(p, m)
                    targets.append((starts[matrix] + rows[:, None] * self.sizes[matrix][1] + columns).ravel())
                    sources.append(np.arange(p.inner_start, p.inner_start + c1 * c3))
                    coefficients.append(np.full(c1 * c3, value))
        return np.concatenate(sources), np.concatenate(targets), np.concatenate(coefficients)

    def _rows(self, p: ProductPath, m: int) -> np.ndarray:
        """Rows of a path in the matrix of order m, whose inputs stand one feature after the other."""
        before, channels = self.inputs[: p.part], self.inputs[p.part]
        first = channels.starts[p.l1] + (0 if p.natural1 else channels.natural[p.l1])
        if m:
            return np.arange(p.shape[0]) + sum(c.tail(m) for c in before) + first - channels.starts[m]
        index = _natural if p.natural1 else _pseudo
        return np.arange(p.shape[0]) + sum(len(index(c)) for c in before) + index(channels).index(first)

    def _columns(self, p: ProductPath, m: int) -> np.ndarray:
        """Columns of a path in the matrix of order m; the gates are the last ones of the natural m = 0 matrix."""
        first = self.out.starts[p.l3] + (0 if p.natural3 else self.out.natural[p.l3])
        if m:
            return np.arange(p.shape[1]) + first - self.out.starts[m]
        index = (_natural if p.natural3 else _pseudo)(self.out)
        count = self.out.scalars if p.l3 == 0 and p.natural3 else p.shape[1]
        return np.concatenate([np.arange(count) + index.index(first), np.arange(p.shape[1] - count) + len(index)])

    def matrices(self) -> list[Tensor]:
        """The matrices of ``_matrix_shapes`` from the path weights."""
        weights = self.inner * self.outer.index_select(0, self.outer_index)
        entries = weights.index_select(0, self.source_index) * self.coefficient
        flat = entries.new_zeros(sum(a * b for a, b in self.sizes)).index_add(0, self.target_index, entries)
        parts = flat.split([a * b for a, b in self.sizes])
        return [part.view(shape) for part, shape in zip(parts, self.sizes, strict=True)]

    def forward(self, features: Sequence[Orders], n_onsite: int) -> tuple[Orders, Tensor]:
        matrices = self.matrices()
        offsite, onsite = matrices[: len(matrices) // 2], matrices[len(matrices) // 2 :]

        def apply(x: Tensor, number: int) -> Tensor:
            directed, still = x.split([len(x) - n_onsite, n_onsite])
            return torch.cat([directed @ offsite[number], still @ onsite[number]])

        x = torch.cat([f[0] for f in features], dim=1)
        natural = apply(x.index_select(1, self.natural_index) if len(self.pseudo_index) else x, 0)
        natural, gates = natural.split([natural.shape[1] - self.gates, self.gates], dim=1)
        if self.sizes[1][1]:
            pseudo = apply(x.index_select(1, self.pseudo_index), 1)
            natural = torch.cat([natural, pseudo], dim=1).index_select(1, self.merge_index)
        out = [natural]
        for m in range(1, self.out.lmax + 1):
            parts = [f[m] for f in features if len(f) > m]
            joined = torch.cat(parts, dim=2) if parts else x.new_zeros(len(x), 2, 0)
            out.append(apply(joined, m + 1))
        return out, gates


def _natural(channels: Channels) -> list[int]:
    return channels.natural_index


def _pseudo(channels: Channels) -> list[int]:
    return channels.pseudo_index
