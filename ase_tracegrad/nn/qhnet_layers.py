"""The layers of QHNet (H. Yu et al., ICML 2023, arXiv 2306.04922): messages, on-site layer, pair layer, expansion into blocks.

All features are rows in the common axes. As in e3nn, weights have unit variance at the start and are normalised where they
are used: the step size of Adam means the same as in the original code.
"""

import math
from functools import cache

import torch
from e3nn.math import normalize2mom
from torch import Tensor, nn
from torch.nn.functional import softplus

from .batch import GraphBatch
from .channel_convolution import ChannelConvolution
from .channel_product import ChannelProduct
from .config import QHNetConfig
from .frames import add_up_out_of_frames, rotate_into_frames
from .irreps import Channels, Rows

NORM_FLOOR = 1e-12  # of a squared norm: the root of an exact zero has no derivative


def shifted_softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) - log 2."""
    return softplus(x) - math.log(2)


@cache
def shifted_softplus_scale() -> float:
    """e3nn's factor that gives it unit second moment for normal input."""
    return normalize2mom(shifted_softplus).cst


class RowLinear(nn.Module):
    """Equivariant linear map of rows: one matrix per (l, parity) that both sides have; a bias on true scalars."""

    def __init__(self, channels_in: Channels, channels_out: Channels, *, bias: bool = True):
        super().__init__()
        lmax = min(channels_in.lmax, channels_out.lmax)
        self.counts = channels_out.counts
        self.natural, self.pseudo = (
            nn.ParameterList(torch.randn(a[l], b[l]) for l in range(lmax + 1))
            for a, b in ((channels_in.natural, channels_out.natural), (channels_in.pseudo, channels_out.pseudo))
        )
        self.bias = nn.Parameter(torch.zeros(channels_out.scalars)) if bias else None

    def forward(self, rows: Rows) -> Rows:
        out = []
        for row, *weights in zip(rows, self.natural, self.pseudo, strict=False):
            natural, pseudo = (w / math.sqrt(max(len(w), 1)) for w in weights)
            out.append(row @ (torch.block_diag(natural, pseudo) if any(pseudo.shape) else natural))
        n = len(rows[0])
        out += [rows[0].new_zeros(n, 2 * l + 1, self.counts[l]) for l in range(len(out), len(self.counts))]
        if self.bias is not None:
            out[0] = out[0] + self.bias
        return out


class NormGate(nn.Module):
    """Scalars become those of a network of all scalars and norms; every other channel is multiplied by one of its outputs."""

    def __init__(self, channels: Channels):
        super().__init__()
        n = channels.total
        self.counts = channels.counts
        self.layers = nn.Sequential(nn.Linear(n, n), nn.SiLU(), nn.Linear(n, n))

    def forward(self, rows: Rows) -> Rows:
        norms = [(row.square().sum(1) + NORM_FLOOR).sqrt() for row in rows[1:]]
        gates = self.layers(torch.cat([rows[0][:, 0], *norms], dim=1)).split(self.counts, dim=1)
        return [gates[0][:, None], *(row * gate[:, None] for row, gate in zip(rows[1:], gates[1:], strict=True))]


class ScaledNetwork(nn.Module):
    """Two layers without bias on shifted softplus, normalised as in e3nn: zero at zero input."""

    def __init__(self, n_in: int, hidden: int, n_out: int):
        super().__init__()
        self.first, self.last = nn.Parameter(torch.randn(n_in, hidden)), nn.Parameter(torch.randn(hidden, n_out))
        self.scales = 1 / math.sqrt(n_in), shifted_softplus_scale() / math.sqrt(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return shifted_softplus(x @ (self.first * self.scales[0])) @ (self.last * self.scales[1])


def invariants_of_ends(rows: Rows, receiver: Tensor, sender: Tensor) -> Tensor:
    """Scalars of both atoms, and the means over m of the products of their other channels, (E, 2 n_0 + n_1 + n_2 ...)."""
    scalars = rows[0][:, 0]
    products = [(row.index_select(0, receiver) * row.index_select(0, sender)).mean(1) for row in rows[1:]]
    return torch.cat([scalars.index_select(0, receiver), scalars.index_select(0, sender), *products], dim=1)


class SoftNorm(nn.Module):
    """Rows in units of their usual size, those of an atom or pair divided by sqrt(1 + mean square): small ones stay as they are.

    Not in the original. Products of gated features begin at 1e-4, so that pairs learn only after many thousand steps, and grow as
    the third power of what came before, so that a few large molecules blow up. The units are measured once on training data.
    """

    unit: Tensor

    def __init__(self, lmax: int):
        super().__init__()
        self.register_buffer("unit", torch.ones(lmax + 1))
        self.measuring = False

    def forward(self, rows: Rows) -> Rows:
        if self.measuring:
            for l, row in enumerate(rows):
                sizes = row.square().mean((1, 2)).sqrt()
                self.unit[l] = torch.quantile(sizes, 0.75) if sizes.any() else 1.0
        scaled = [row / unit for row, unit in zip(rows, self.unit, strict=True)]
        return [row * torch.rsqrt(1 + row.square().mean((1, 2), keepdim=True)) for row in scaled]


def product_norm(config: QHNetConfig, lmax: int) -> nn.Module:
    """What follows a product: nothing, as published, or a SoftNorm."""
    return SoftNorm(lmax) if config.normalize else nn.Identity()


class MessageLayer(nn.Module):
    """Products of the sender with the harmonics of the pair, weighted by distance and by invariants of both atoms, added up.

    first: the layer that begins with scalars alone; it has no gate and no residual.
    """

    def __init__(self, before: Channels, after: Channels, config: QHNetConfig, *, first: bool):
        super().__init__()
        self.before, self.after = before, after
        self.convolution = ChannelConvolution(config.hidden, before.lmax, after.lmax, config.lmax)
        n, hidden = self.convolution.n_weights, config.message_hidden
        self.of_distance = ScaledNetwork(config.n_radial, hidden, n)
        self.of_invariants = ScaledNetwork(before.total + before.scalars, hidden, n)
        self.prepare = None if first else RowLinear(before, before)
        self.gate = None if first else NormGate(before)
        self.mix = None if first else RowLinear(before, before)
        self.norm, self.finish = product_norm(config, after.lmax), RowLinear(after, after)

    def forward(self, x: Rows, radial: Tensor, batch: GraphBatch) -> Rows:
        """radial (n_near, n_radial) of the pairs that pass messages."""
        near = slice(0, batch.n_near)
        receiver, sender, rotations = batch.receiver[near], batch.sender[near], [d[near] for d in batch.rotations]
        seen = x if self.prepare is None else self.prepare(x)
        weights = self.of_distance(radial) * self.of_invariants(invariants_of_ends(seen, receiver, sender))
        gated = x if self.gate is None or self.mix is None else self.mix(self.gate(x))
        message = self.convolution(rotate_into_frames(gated, sender, rotations, self.before), weights)
        total = self.norm(add_up_out_of_frames(message, receiver, rotations, self.after, batch.n_atoms))
        if self.gate is None:
            return self.finish(total)
        return _add(x, self.finish(_add(gated, total)))


class OnsiteLayer(nn.Module):
    """On-site features: the product of an atom's features with themselves, through two different maps."""

    def __init__(self, atom: Channels, pair: Channels, config: QHNetConfig):
        super().__init__()
        self.product = ChannelProduct(config.hidden, atom.lmax, pair)
        self.weights = nn.Parameter(torch.randn(1, self.product.n_weights))
        self.left, self.right = (nn.Sequential(NormGate(atom), RowLinear(atom, atom)) for _ in range(2))
        self.norm, self.gate, self.finish = product_norm(config, pair.lmax), NormGate(pair), RowLinear(pair, pair)

    def forward(self, x: Rows, before: Rows | None) -> Rows:
        (product,) = self.product(self.left(x), self.right(x), self.weights)
        new = self.norm(product)
        # Natural channels are the first ones.
        new = [
            torch.cat([row[:, :, : old.shape[2]] + old, row[:, :, old.shape[2] :]], dim=2) for row, old in zip(new, x, strict=False)
        ] + new[len(x) :]
        new = self.finish(self.gate(new))
        return new if before is None else _add(new, before)


class PairLayer(nn.Module):
    """Pair features: the product of the features of both atoms, weighted by their distance and by invariants."""

    def __init__(self, atom: Channels, pair: Channels, config: QHNetConfig):
        super().__init__()
        self.product = ChannelProduct(config.hidden, atom.lmax, pair)
        n, hidden = self.product.n_weights, config.hidden
        self.of_distance = ScaledNetwork(config.n_radial, hidden, n)
        self.of_invariants = nn.Sequential(nn.Linear(atom.total + atom.scalars, hidden), nn.SiLU(), nn.Linear(hidden, n))
        self.prepare, self.mix = RowLinear(atom, atom), nn.Sequential(NormGate(atom), RowLinear(atom, atom))
        self.norm, self.gate, self.finish = product_norm(config, pair.lmax), NormGate(pair), RowLinear(pair, pair)

    def forward(self, x: Rows, before: Rows | None, radial: Tensor, batch: GraphBatch) -> Rows:
        # A pair and its reverse share their distance, their inner products and, up to signs, the products of their atoms.
        rank = torch.arange(batch.n_pairs, device=batch.reverse.device)
        half = rank[rank < batch.reverse]
        receiver, sender = batch.receiver[half], batch.sender[half]
        seen = invariants_of_ends(self.prepare(x), receiver, sender)
        first, second, inner = seen.split([x[0].shape[2], x[0].shape[2], seen.shape[1] - 2 * x[0].shape[2]], dim=1)
        of_distance = self.of_distance(radial[half])
        weights = [of_distance * self.of_invariants(part) for part in (seen, torch.cat([second, first, inner], dim=1))]
        mixed = self.mix(x)
        ends = ([row.index_select(0, index) for row in mixed] for index in (receiver, sender))
        place = torch.argsort(torch.cat([half, batch.reverse[half]]))
        both = [torch.cat(sides).index_select(0, place) for sides in zip(*self.product(*ends, *weights), strict=True)]
        new = self.finish(self.gate(self.norm(both)))
        return new if before is None else _add(new, before)


class Expansion(nn.Module):
    """Few channels -> the irreps of the blocks, by matrices that a network makes of the embedding of each type.

    A type is an element, or a pair of elements; one row of ``embedding`` (types, n) for each.
    """

    def __init__(self, channels: Channels, target: Channels, n_embedding: int, hidden: int, *, normalize: bool = False):
        super().__init__()
        self.power = 0.5 if normalize else 1.0
        self.channels, self.target = channels, target
        # (channels, pieces) of each l, natural before pseudo; layouts have their channels in the same order.
        shapes = [zip(*pair, strict=True) for pair in zip(_split(channels), _split(target), strict=True)]
        self.shapes = [list(shape) for shape in shapes]
        self.sizes = [a * b for shape in self.shapes for a, b in shape]
        self.matrices, self.bias = (
            nn.Sequential(nn.Linear(n_embedding, hidden), nn.SiLU(), nn.Linear(hidden, n))
            for n in (sum(self.sizes), target.scalars)
        )

    def forward(self, rows: Rows, embedding: Tensor, types: Tensor) -> Rows:
        """types: (rows,), the row of ``embedding`` of each atom or pair."""
        parts, out = iter(self.matrices(embedding).split(self.sizes, dim=1)), []
        for row, shape in zip(rows, self.shapes, strict=True):
            first, columns = 0, []
            for a, b in shape:
                matrix = next(parts).index_select(0, types).view(len(types), a, b) / max(a, 1) ** self.power
                columns.append(torch.bmm(row[:, :, first : first + a], matrix))
                first += a
            out.append(torch.cat(columns, dim=2))
        bias = self.bias(embedding).index_select(0, types)[:, None]
        out[0] = out[0] + nn.functional.pad(bias, (0, out[0].shape[2] - bias.shape[2]))
        return out


def _split(channels: Channels) -> list[tuple[int, int]]:
    """(natural, pseudo) channels of each l."""
    return list(zip(channels.natural, channels.pseudo, strict=True))


def _add(a: Rows, b: Rows) -> Rows:
    return [x + y for x, y in zip(a, b, strict=True)]
