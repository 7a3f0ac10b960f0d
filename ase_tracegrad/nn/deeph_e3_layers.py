"""The layers of DeepH-E3 (arXiv 2210.13955): linear maps, self-connection, layer norm, gated convolution, and both updates.

Atom and pair features are orders (see irreps.py), of atoms in the common axes. Weights have unit variance at the start and
are normalised where they are used, as in e3nn: the step size of Adam means the same as in the original code.
"""

import math
from functools import cache

import torch
from e3nn.math import normalize2mom
from torch import Tensor, nn

from .config import DeepHE3Config
from .irreps import Channels, EdgeAlgebra, Orders
from .path_weights import PathConvolution, reachable
from .sorted_graph import SortedGraph

RADIAL_HIDDEN = 64  # width of the network of the distance, fixed in the original
NORM_EPSILON = 1e-5


@cache
def activation_scale(name: str) -> float:
    """e3nn's factor that gives an activation ('silu', 'sigmoid', 'tanh') unit second moment for normal input."""
    return normalize2mom({"silu": nn.functional.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[name]).cst


class ChannelLinear(nn.Module):
    """Equivariant linear map: one matrix per (l, parity) that both sides have; a bias on true scalars.

    n_types: number of different maps, chosen by the type of the atom or pair (the self-connection).
    """

    def __init__(self, channels_in: Channels, channels_out: Channels, *, bias: bool = False, n_types: int = 1):
        super().__init__()
        self.channels_in, self.channels_out, self.n_types = channels_in, channels_out, n_types
        self.shapes = [
            (_count(channels_in, l, natural), _count(channels_out, l, natural))
            for l in range(max(channels_in.lmax, channels_out.lmax) + 1)
            for natural in (True, False)
        ]
        self.weights = nn.ParameterList(torch.randn(n_types, a, b) for a, b in self.shapes)
        self.bias = nn.Parameter(torch.zeros(channels_out.scalars)) if bias else None

    def forward(self, x: Orders, types: list[tuple[int, int]] | None = None) -> Orders:
        """types: (type, number) of consecutive atoms or pairs; None: all are of type 0."""
        if types is None:
            out = self._map(x, 0)
        else:
            parts = zip(*(part.split([n for _, n in types]) for part in x), strict=True)
            pieces = [self._map(list(piece), t) for (t, _), piece in zip(types, parts, strict=True)]
            out = pieces[0] if len(pieces) == 1 else [torch.cat(order) for order in zip(*pieces, strict=True)]
        if self.bias is not None:
            out[0] = out[0] + nn.functional.pad(self.bias, (0, out[0].shape[1] - len(self.bias)))
        return out

    def _map(self, x: Orders, number: int) -> Orders:
        # One-hot inputs of every type count in the fan of a self-connection.
        blocks = [w[number] / math.sqrt(max(a * self.n_types, 1)) for w, (a, _) in zip(self.weights, self.shapes, strict=True)]
        return apply_matrix(x, torch.block_diag(*blocks), self.channels_in, self.channels_out)


def _count(channels: Channels, l: int, natural: bool) -> int:
    if l > channels.lmax:
        return 0
    return channels.natural[l] if natural else channels.pseudo[l]


def apply_matrix(x: Orders, matrix: Tensor, channels_in: Channels, channels_out: Channels) -> Orders:
    """x @ matrix (channels, channels) for every order; the matrix is block-diagonal in l."""
    out = []
    for m in range(channels_out.lmax + 1):
        if m <= channels_in.lmax:
            out.append(x[m] @ matrix[channels_in.starts[m] :, channels_out.starts[m] :])
        else:
            out.append(x[0].new_zeros(len(x[0]), 2, channels_out.tail(m)))
    return out


class EquivariantNorm(nn.Module):
    """Layer norm of each (l, parity): mean over channels taken away, root mean square over channels and m divided out.

    kind 'structure', as published: both are means over all atoms, or all pairs, of a structure as well, the mean in the common
    axes; what one atom is told then depends on atoms far away. kind 'local': of each atom or pair alone.
    """

    average: Tensor
    spread: Tensor
    power: Tensor

    def __init__(self, channels: Channels, kind: str):
        super().__init__()
        self.channels, self.kind = channels, kind
        self.algebra = EdgeAlgebra(channels)
        self.weight, self.bias = nn.Parameter(torch.ones(channels.total)), nn.Parameter(torch.zeros(channels.scalars))
        starts = torch.tensor([first for _, first, _ in channels.groups])
        member = (torch.searchsorted(starts, torch.arange(channels.total), right=True) - 1)[:, None] == torch.arange(len(starts))
        counts = torch.tensor([float(count) for _, _, count in channels.groups], dtype=torch.float64)
        widths = torch.tensor([2.0 * l + 1 for l, _, _ in channels.groups], dtype=torch.float64)
        self.register_buffer("average", member / counts, persistent=False)
        self.register_buffer("spread", member.T.double(), persistent=False)
        self.register_buffer("power", member / (counts * widths), persistent=False)
        # One channel for each group, in the same order.
        self.means = Channels("+".join(str(Channels(_one(channels, l, first))) for l, first, _ in channels.groups))

    def forward(self, x: Orders, structure: Tensor, graph: SortedGraph, *, pairs: bool) -> Orders:
        """structure (rows,): index of the structure of each row; pairs: rows are pairs, in their frames."""
        mean = apply_matrix(x, self.average, self.channels, self.means)
        if self.kind == "structure":
            rows = graph.out_of_frames(mean, self.means) if pairs else self.means.to_rows(mean)
            rows = [self._average(row.flatten(1), structure, graph).view(-1, *row.shape[1:])[structure] for row in rows]
            mean = graph.turn_into_frames(rows, self.means) if pairs else self.means.to_orders(rows)
        centred = [a - b for a, b in zip(x, apply_matrix(mean, self.spread, self.means, self.channels), strict=True)]
        variance = self.algebra.inner(centred, centred) @ self.power
        if self.kind == "structure":
            # The tiny number keeps the derivative of the root of an exact zero finite.
            deviation = (self._average(variance, structure, graph) + 1e-30).sqrt()
            factor = (1 / (deviation + NORM_EPSILON)) @ self.spread * self.weight
            factor = factor.index_select(0, structure)
        else:
            factor = (variance + NORM_EPSILON).rsqrt() @ self.spread * self.weight
        out = self.algebra.scale(centred, factor)
        out[0] = out[0] + nn.functional.pad(self.bias, (0, out[0].shape[1] - len(self.bias)))
        return out

    @staticmethod
    def _average(values: Tensor, structure: Tensor, graph: SortedGraph) -> Tensor:
        """Mean over the rows of each structure, (structures, columns)."""
        total = values.new_zeros(graph.n_structures, values.shape[1]).index_add(0, structure, values)
        return total / torch.bincount(structure, minlength=graph.n_structures).clamp_min(1)[:, None]


def _one(channels: Channels, l: int, first: int) -> str:
    natural = first < channels.starts[l] + channels.natural[l]
    return f"1x{l}{'e' if (l % 2 == 0) == natural else 'o'}"


class GatedPathConvolution(nn.Module):
    """Tensor product with the harmonics of the pair, activations and gates, times weights that depend on the distance.

    0e: SiLU; 0o: tanh; the others: a sigmoid gate each.
    """

    def __init__(self, inputs: list[Channels], wanted: Channels, config: DeepHE3Config):
        super().__init__()
        self.out = reachable(inputs, config.filter_lmax, wanted)
        self.scalars, self.pseudoscalars = self.out.natural[0], self.out.pseudo[0]
        self.algebra = EdgeAlgebra(self.out)
        gates = self.out.total - self.scalars - self.pseudoscalars
        self.linear = PathConvolution(inputs, self.out, gates, config.filter_lmax)
        hidden = RADIAL_HIDDEN
        self.radial = nn.Sequential(
            nn.Linear(config.n_radial, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, self.out.total)
        )

    def forward(self, features: list[Orders], radial: Tensor, n_onsite: int) -> Orders:
        x, gates = self.linear(features, n_onsite)
        scalars, pseudoscalars, others = x[0].split(
            [self.scalars, self.pseudoscalars, self.out.total - self.scalars - self.pseudoscalars], dim=1
        )
        # silu(x) = x sigmoid(x), so one multiplication does activation, gate and radial weight.
        parts = [activation_scale("silu") * torch.sigmoid(scalars), activation_scale("sigmoid") * torch.sigmoid(gates)]
        if self.pseudoscalars:
            bounded = activation_scale("tanh") * torch.tanh(pseudoscalars)
            x[0] = torch.cat([scalars, bounded, others], dim=1)
            parts.insert(1, torch.ones_like(bounded))
        return self.algebra.scale(x, torch.cat(parts, dim=1) * self.radial(radial))


class Update(nn.Module):
    """What atom and pair update share: linear maps before and after, self-connection, norm, skip connection."""

    def __init__(self, old: Channels, convolution: GatedPathConvolution, n_types: int, norm: str):
        super().__init__()
        self.convolution, self.out = convolution, convolution.out
        self.before = ChannelLinear(old, old, bias=True)
        self.after = ChannelLinear(self.out, self.out, bias=True)
        self.self_connection = ChannelLinear(old, self.out, n_types=n_types)
        self.norm = EquivariantNorm(self.out, norm)
        self.skip = None if old == self.out else ChannelLinear(old, self.out)

    def finish(self, old: Orders, new: Orders, graph: SortedGraph, *, pairs: bool) -> Orders:
        """Everything after the convolution."""
        types, structure = (graph.pairs_of, graph.pair_structure) if pairs else (graph.atoms_of, graph.atom_structure)
        total = [a + b for a, b in zip(self.after(new), self.self_connection(old, types), strict=True)]
        normal = self.norm(total, structure, graph, pairs=pairs)
        return [a + b for a, b in zip(normal, old if self.skip is None else self.skip(old), strict=True)]


class AtomUpdate(Update):
    """Messages of all pairs of an atom, its on-site pair included, added up."""

    def __init__(self, atom: Channels, pair: Channels, wanted: Channels, n_elements: int, config: DeepHE3Config):
        convolution = GatedPathConvolution([atom, atom, pair], wanted, config)
        super().__init__(atom, convolution, n_elements, config.norm)
        self.atom = atom

    def forward(self, x: Orders, e: Orders, radial: Tensor, envelope: Tensor | None, graph: SortedGraph) -> Orders:
        prepared = self.before(x)
        features = [graph.into_frames(prepared, index, self.atom) for index in (graph.receiver, graph.sender)]
        rows = graph.out_of_frames(self.convolution([*features, e], radial, graph.n_atoms), self.out)
        flat = torch.cat([row.flatten(1) for row in rows], dim=1)
        if envelope is not None:
            flat = flat * envelope[:, None]
        total = flat.new_zeros(graph.n_atoms, flat.shape[1]).index_add(0, graph.receiver, flat)
        sizes = [(2 * l + 1) * c for l, c in enumerate(self.out.counts)]
        summed = [part.view(graph.n_atoms, 2 * l + 1, -1) for l, part in enumerate(total.split(sizes, dim=1))]
        return self.finish(x, self.out.to_orders(summed), graph, pairs=False)


class PairUpdate(Update):
    """Pair features from both atoms and themselves."""

    def __init__(self, atom: Channels, pair: Channels, wanted: Channels, n_elements: int, config: DeepHE3Config):
        convolution = GatedPathConvolution([atom, atom, pair], wanted, config)
        super().__init__(pair, convolution, n_elements**2, config.norm)
        self.atom = atom

    def forward(self, x: Orders, e: Orders, radial: Tensor, graph: SortedGraph) -> Orders:
        features = [graph.into_frames(x, index, self.atom) for index in (graph.receiver, graph.sender)]
        return self.finish(e, self.convolution([*features, self.before(e)], radial, graph.n_atoms), graph, pairs=True)
