"""QHNet on e3nn tensor products, in the common axes: what nn/qhnet.py must equal.

Written from the publication (arXiv 2306.04922) and the behaviour of its public code, with the differences that nn/qhnet.py
names. It has no weights of its own but takes those of a network. Built in torch's default dtype, like everything of e3nn.
"""

from functools import cache

import torch
from e3nn import o3
from e3nn.nn import FullyConnectedNet
from torch import Tensor
from torch.nn.functional import silu, softplus

from ase_tracegrad.conventions import E3NN_AXES
from ase_tracegrad.nn.qhnet import QHNetNetwork
from ase_tracegrad.units import HARTREE

OPTIONS = {"compile_right": False, "_optimize_einsums": False}  # fast to build, slow to run


def natural(l: int) -> str:
    return f"{l}{'eo'[l % 2]}"


def product_with_harmonics(before: o3.Irreps, after: o3.Irreps, harmonics: o3.Irreps) -> o3.TensorProduct:
    """One weight for each channel of the feature and path, given for every pair."""
    instructions = [
        (i, j, k, "uvu", True)
        for i, (_, a) in enumerate(before)
        for k, (_, c) in enumerate(after)
        for j, (_, b) in enumerate(harmonics)
        if c in a * b
    ]
    return o3.TensorProduct(before, harmonics, after, instructions, internal_weights=False, shared_weights=False, **OPTIONS)


def product_of_features(atom: o3.Irreps, pair: o3.Irreps, *, shared: bool) -> o3.TensorProduct:
    """One weight for each channel and path; the same number of channels everywhere."""
    places = {ir: k for k, (_, ir) in enumerate(pair)}
    instructions = [
        (i, j, places[c], "uuu", True)
        for i, (_, a) in enumerate(atom)
        for j, (_, b) in enumerate(atom)
        for c in a * b
        if c in places
    ]
    return o3.TensorProduct(atom, atom, pair, instructions, internal_weights=False, shared_weights=shared, **OPTIONS)


def irreps(channels) -> o3.Irreps:
    return o3.Irreps(str(channels))


def linear(layer, before: o3.Irreps, after: o3.Irreps, x: Tensor) -> Tensor:
    """A RowLinear of the network as o3.Linear."""
    weights = [w.flatten() for both in zip(layer.natural, layer.pseudo, strict=True) for w in both]
    module = linear_map(before, after, layer.bias is not None)
    return module(x, torch.cat(weights), layer.bias) if layer.bias is not None else module(x, torch.cat(weights))


@cache
def linear_map(before: o3.Irreps, after: o3.Irreps, bias: bool) -> o3.Linear:
    return o3.Linear(before, after, internal_weights=False, shared_weights=True, biases=bias)


@cache
def norms_and_factors(kinds: o3.Irreps) -> tuple[o3.Norm, o3.ElementwiseTensorProduct]:
    return o3.Norm(kinds, squared=True), o3.ElementwiseTensorProduct(kinds, f"{sum(n for n, _ in kinds)}x0e")


def norm_gate(gate, kinds: o3.Irreps, x: Tensor) -> Tensor:
    scalars = kinds[0].mul
    norm, multiply = norms_and_factors(kinds[1:])
    squares = norm(x[:, scalars:])
    out = gate.layers(torch.cat([x[:, :scalars], (squares + 1e-12).sqrt()], dim=1))
    kept = multiply(x[:, scalars:], out[:, scalars:])
    return torch.cat([out[:, :scalars], kept], dim=1)


def two_layers(network, x: Tensor) -> Tensor:
    """FullyConnectedNet of e3nn on shifted softplus."""

    def activation(y: Tensor) -> Tensor:
        return softplus(y) - torch.log(torch.tensor(2.0))

    made = FullyConnectedNet([len(network.first), *network.last.shape], activation)
    with torch.no_grad():
        made[0].weight.copy_(network.first)
        made[1].weight.copy_(network.last)
    return made(x)


def invariants(kinds: o3.Irreps, x: Tensor, i: Tensor, j: Tensor) -> Tensor:
    scalars = kinds[0].mul
    parts = [x[i, :scalars], x[j, :scalars]]
    for (n, ir), place in zip(kinds[1:], kinds.slices()[1:], strict=True):
        parts.append((x[i, place] * x[j, place]).view(-1, n, ir.dim).sum(2) / ir.dim)
    return torch.cat(parts, dim=1)


def radial_functions(distance: Tensor, decay: float | Tensor, cutoff: float, n: int) -> Tensor:
    """Bernstein polynomials of exp(-decay d), one by one, times the smooth end."""
    x, columns = torch.exp(-decay * distance), []
    for k in range(n):
        binomial = torch.exp(torch.lgamma(torch.tensor([n, k + 1.0, n - k])) @ torch.tensor([1.0, -1, -1]))
        columns.append(binomial * x ** (n - 1 - k) * (1 - x) ** k)
    end = torch.where(distance < cutoff, torch.exp(-(distance**2) / (cutoff**2 - distance**2)), 0.0)
    return torch.stack(columns, dim=1) * end[:, None]


class Twin:
    """Blocks (pairs, U, U) and (atoms, U, U) in eV, before they are made Hermitian, with the weights of ``network``."""

    def __init__(self, network: QHNetNetwork):
        self.network, c = network, network.config.qhnet
        self.scalars = o3.Irreps(f"{c.hidden}x0e")
        self.atom = o3.Irreps("+".join(f"{c.hidden}x{natural(l)}" for l in range(c.lmax + 1)))
        self.pair, self.few = irreps(network.onsite_layers[0].product.out), irreps(network.onsite_expansion.channels)
        self.harmonics = o3.Irreps("+".join(f"1x{natural(l)}" for l in range(c.lmax + 1)))
        self.convolutions = [product_with_harmonics(before, self.atom, self.harmonics) for before in (self.scalars, self.atom)]
        self.with_itself, self.of_ends = (product_of_features(self.atom, self.pair, shared=shared) for shared in (True, False))

    def __call__(self, species: Tensor, pairs: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        net, c = self.network, self.network.config
        i, j = pairs.T
        distance = vectors.norm(dim=1)
        cutoff = c.message_cutoff
        radial = radial_functions(distance, softplus(net.decay).detach(), cutoff, c.qhnet.n_radial)
        y = o3.spherical_harmonics(self.harmonics, vectors[:, list(E3NN_AXES)], True, normalization="component")
        x, onsite, offsite = net.atom_embedding(species), None, None
        for number, layer in enumerate(net.messages):
            near = distance < cutoff
            x = self.message(layer, x, y[near], radial[near], (i[near], j[near]))
            later = number - (c.qhnet.n_layers - c.qhnet.n_pair_layers)
            if later >= 0:
                onsite = self.onsite(net.onsite_layers[later], x, onsite)
                offsite = self.offsite(net.pair_layers[later], x, offsite, radial, (i, j))
        embedded = net.atom_embedding.weight
        return (
            self.expand(net.pair_output, net.pair_expansion, offsite, torch.cat([embedded[species[i]], embedded[species[j]]], 1)),
            self.expand(net.onsite_output, net.onsite_expansion, onsite, embedded[species]),
        )

    def message(self, layer, x, y, radial, ends):
        before = self.scalars if layer.gate is None else self.atom
        product = self.convolutions[layer.gate is not None]
        seen = x if layer.gate is None else linear(layer.prepare, before, before, x)
        weights = two_layers(layer.of_distance, radial) * two_layers(layer.of_invariants, invariants(before, seen, *ends))
        sent = x if layer.gate is None else linear(layer.mix, before, before, norm_gate(layer.gate, before, x))
        messages = product(sent[ends[1]], y, weights)
        total = messages.new_zeros(len(x), messages.shape[1]).index_add(0, ends[0], messages)
        if layer.gate is None:
            return linear(layer.finish, self.atom, self.atom, total)
        return x + linear(layer.finish, self.atom, self.atom, sent + total)

    def onsite(self, layer, x, before):
        left, right = (
            linear(part[1], self.atom, self.atom, norm_gate(part[0], self.atom, x)) for part in (layer.left, layer.right)
        )
        new = self.with_itself(left, right, layer.weights[0])
        new = new + linear_map(self.atom, self.pair, False)(x, self.copy_weights())
        new = linear(layer.finish, self.pair, self.pair, norm_gate(layer.gate, self.pair, new))
        return new if before is None else before + new

    def copy_weights(self) -> Tensor:
        """Weights of the linear map that copies the channels of an atom."""
        n = self.network.config.qhnet.hidden
        return torch.cat([(torch.eye(n) * n**0.5).flatten() for _ in self.atom])

    def offsite(self, layer, x, before, radial, ends):
        seen = invariants(self.atom, linear(layer.prepare, self.atom, self.atom, x), *ends)
        hidden = silu(seen @ layer.of_invariants[0].weight.T + layer.of_invariants[0].bias)
        last = layer.of_invariants[2]
        weights = two_layers(layer.of_distance, radial) * (hidden @ last.weight.T + last.bias)
        mixed = linear(layer.mix[1], self.atom, self.atom, norm_gate(layer.mix[0], self.atom, x))
        new = self.of_ends(mixed[ends[0]], mixed[ends[1]], weights)
        new = linear(layer.finish, self.pair, self.pair, norm_gate(layer.gate, self.pair, new))
        return new if before is None else before + new

    def expand(self, output, expansion, feature, embedding) -> Tensor:
        """Each atom and pair with matrices of its own, shell pair by shell pair."""
        feature = linear(output, self.pair, self.few, feature)
        shells = self.network.shells
        matrices, bias = expansion.matrices(embedding), expansion.bias(embedding)
        blocks = feature.new_zeros(len(feature), shells.size, shells.size)
        first = 0
        for (n, ir), place in zip(self.few, self.few.slices(), strict=True):
            pieces = [p for p in shells.pieces if (p.L, (-1) ** (shells.shells[p.a] + shells.shells[p.b])) == (ir.l, ir.p)]
            matrix = matrices[:, first : first + n * len(pieces)].view(-1, n, len(pieces))
            first += n * len(pieces)
            coupled = torch.einsum("ewm,ewp->epm", feature[:, place].view(-1, n, ir.dim), matrix) / n
            if ir.is_scalar():
                coupled = coupled + bias[:, :, None]
            for piece, value in zip(pieces, coupled.unbind(1), strict=True):
                a, b = (slice(shells.starts[s], shells.starts[s] + 2 * shells.shells[s] + 1) for s in (piece.a, piece.b))
                coupling = o3.wigner_3j(shells.shells[piece.a], shells.shells[piece.b], ir.l) * ir.dim**0.5
                blocks[:, a, b] += torch.einsum("abm,em->eab", coupling, value) * HARTREE
        return blocks
