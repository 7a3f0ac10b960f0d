"""A network of DeepH-E3's structure (arXiv 2210.13955) on e3nn tensor products: what the O(2) network is measured against.

Same irreps, blocks, gates, radial weights, norms and heads as ase_tracegrad.nn.network, but features stay in the common
axes and the convolution is FullyConnectedTensorProduct((x_i, x_j, e_ij), Y(edge)). As in DeepH-E3 the filters end at
lf = 4, and what follows a convolution is a plain equivariant linear map (the O(2) network has the richer forms of both).
Everything that makes e3nn fast is allowed: equal irreps are merged into one before the product.
"""

import torch
from e3nn import o3
from e3nn.nn import Gate
from torch import Tensor, nn
from torch.nn.functional import silu

from ase_tracegrad.conventions import E3NN_AXES
from ase_tracegrad.nn.batch import GraphBatch
from ase_tracegrad.nn.config import NetworkConfig
from ase_tracegrad.nn.coupling import CommonShells
from ase_tracegrad.nn.irreps import Channels
from ase_tracegrad.nn.radial import cosine_envelope, gaussian_basis

FILTER_LMAX = 4


def irreps_of(text: str) -> o3.Irreps:
    """The irreps in the channel order of the O(2) network: by l, natural parity first."""
    return o3.Irreps(str(Channels(text)))


class Merge(nn.Module):
    """Concatenate features so that equal irreps stand side by side."""

    def __init__(self, parts: list[o3.Irreps]):
        super().__init__()
        joined = sum(parts, o3.Irreps([]))
        order = joined.sort()
        slices = joined.slices()
        index = [k for position in order.inv for k in range(slices[position].start, slices[position].stop)]
        self.irreps = order.irreps.simplify()
        self.register_buffer("index", torch.tensor(index), persistent=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        return torch.cat(features, dim=1).index_select(1, self.index)


class GatedProduct(nn.Module):
    """Tensor product with the harmonics of the edge, gate, weights that depend on the distance."""

    def __init__(self, parts: list[o3.Irreps], out: o3.Irreps, harmonics: o3.Irreps, n_radial: int, hidden: int):
        super().__init__()
        scalars = o3.Irreps([(mul, ir) for mul, ir in out if ir == o3.Irrep("0e")])
        gated = o3.Irreps([(mul, ir) for mul, ir in out if ir != o3.Irrep("0e")])
        gates = o3.Irreps([(gated.num_irreps, "0e")]) if gated.num_irreps else o3.Irreps([])
        self.gate = Gate(scalars, [silu] * len(scalars), gates, [torch.sigmoid] * len(gates), gated)
        self.merge = Merge(parts)
        self.product = o3.FullyConnectedTensorProduct(self.merge.irreps, harmonics, self.gate.irreps_in, shared_weights=True)
        self.radial = nn.Sequential(
            nn.Linear(n_radial, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out.num_irreps)
        )
        spread = [channel for channel, (_, ir) in enumerate((1, ir) for mul, ir in out for _ in range(mul)) for _ in range(ir.dim)]
        self.register_buffer("spread", torch.tensor(spread), persistent=False)

    def forward(self, features: list[Tensor], harmonics: Tensor, radial: Tensor) -> Tensor:
        gated = self.gate(self.product(self.merge(features), harmonics))
        return gated * self.radial(radial).index_select(1, self.spread)


class Block(nn.Module):
    """Node update, then pair update."""

    def __init__(self, node: o3.Irreps, edge: o3.Irreps, node_out: o3.Irreps, edge_out: o3.Irreps, config: NetworkConfig):
        super().__init__()
        harmonics = o3.Irreps.spherical_harmonics(FILTER_LMAX)
        sizes = (config.n_radial, config.radial_hidden)
        self.scale, self.cutoff = config.message_scale, config.message_cutoff
        self.node_product = GatedProduct([node, node, edge], node_out, harmonics, *sizes)
        self.node_after, self.node_self = o3.Linear(node_out, node_out), o3.Linear(node, node_out)
        self.node_skip = nn.Identity() if node == node_out else o3.Linear(node, node_out)
        self.node_norm = nn.LayerNorm(node_out[0].mul)
        self.edge_product = GatedProduct([node_out, node_out, edge], edge_out, harmonics, *sizes)
        self.edge_after, self.edge_self = o3.Linear(edge_out, edge_out), o3.Linear(edge, edge_out)
        self.edge_norm = nn.LayerNorm(edge_out[0].mul)
        self.residual = edge == edge_out

    def forward(self, x: Tensor, e: Tensor, harmonics: Tensor, radial: Tensor, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        i, j = batch.receiver, batch.sender
        message = self.node_product([x[i], x[j], e], harmonics, radial)
        message = message * (cosine_envelope(batch.distance, self.cutoff) / self.scale)[:, None]
        summed = message.new_zeros(batch.n_atoms, message.shape[1]).index_add(0, i, message)
        x = _normalize_scalars(self.node_after(summed) + self.node_self(x), self.node_norm) + self.node_skip(x)
        new = self.edge_after(self.edge_product([x[i], x[j], e], harmonics, radial)) + self.edge_self(e)
        new = _normalize_scalars(new, self.edge_norm)
        return x, new + e if self.residual else new


class TensorProductNetwork(nn.Module):
    """Off-site (E, U, U) and on-site (N, U, U) blocks of H for one element."""

    def __init__(self, config: NetworkConfig, shells: CommonShells):
        super().__init__()
        self.config, self.shells = config, shells
        hidden, edge_last, node_last = (irreps_of(t) for t in (config.hidden, config.edge_last, config.node_last))
        node = edge = o3.Irreps(f"{config.embedding}x0e")
        self.atom_embedding, self.pair_embedding = nn.Embedding(1, config.embedding), nn.Embedding(1, config.embedding)
        self.blocks = nn.ModuleList()
        for number in range(config.n_blocks):
            last = number == config.n_blocks - 1
            outs = (node_last, edge_last) if last else (hidden, hidden)
            self.blocks.append(Block(node, edge, *outs, config))
            node, edge = outs
        target = irreps_of(str(shells.channels))
        self.offsite_head, self.onsite_head = o3.Linear(edge, target), o3.Linear(node, target)
        self.register_buffer("coupling", shells.coupling[rows_of(shells.channels)], persistent=False)

    def forward(self, batch: GraphBatch, directions: Tensor) -> tuple[Tensor, Tensor]:
        """directions (E, 3): vectors of the pairs, in the order of the batch."""
        c = self.config
        degrees = list(range(FILTER_LMAX + 1))
        harmonics = o3.spherical_harmonics(degrees, directions[:, list(E3NN_AXES)], True, normalization="component")
        radial = gaussian_basis(batch.distance, 0.0, c.cutoff, c.n_radial)
        x = self.atom_embedding(batch.species)
        e = self.pair_embedding(torch.zeros_like(batch.receiver))
        for block in self.blocks:
            x, e = block(x, e, harmonics, radial, batch)
        offsite, onsite = self._to_blocks(self.offsite_head(e)), self._to_blocks(self.onsite_head(x))
        offsite = 0.5 * (offsite + offsite.index_select(0, batch.reverse).transpose(1, 2))
        return offsite, 0.5 * (onsite + onsite.transpose(1, 2))

    def _to_blocks(self, flat: Tensor) -> Tensor:
        return (flat @ self.coupling).view(-1, self.shells.size, self.shells.size)


def _normalize_scalars(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    n = norm.normalized_shape[0]
    return torch.cat([norm(x[:, :n]), x[:, n:]], dim=1)


def rows_of(channels: Channels) -> list[int]:
    """Rows of CommonShells.coupling (by L, M, channel) in e3nn's order (by irrep, channel, M)."""
    rows, first = [], 0
    for l, count in enumerate(channels.counts):
        rows += [first + m * count + c for c in range(count) for m in range(2 * l + 1)]
        first += (2 * l + 1) * count
    return rows
