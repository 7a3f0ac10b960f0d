"""Node and pair updates: O(2) convolution, gate, radial weights, residual."""

import math

import torch
from torch import Tensor, nn

from .batch import GraphBatch
from .irreps import Channels, EdgeAlgebra, NodeLinear, Orders, Rows
from .o2 import O2Linear
from .radial import cosine_envelope


def rotate_into_frames(rows: Rows, index: Tensor, rotations: list[Tensor], channels: Channels) -> Orders:
    """Node features of the atoms ``index``, seen in the frame of each pair."""
    local = [row.index_select(0, index) for row in rows]  # its backward, index_add, is far cheaper than that of row[index]
    return channels.to_orders([row if l == 0 else torch.bmm(rotations[l].transpose(1, 2), row) for l, row in enumerate(local)])


def rotate_out_of_frames(orders: Orders, rotations: list[Tensor], channels: Channels) -> Rows:
    """Pair features back in the common axes."""
    return [row if l == 0 else torch.bmm(rotations[l], row) for l, row in enumerate(channels.to_rows(orders))]


class GatedConvolution(nn.Module):
    """O2Linear, then SiLU on scalars and a sigmoid gate on the rest, times weights that depend on the distance."""

    def __init__(self, inputs: list[Channels], channels_out: Channels, n_radial: int, hidden: int):
        super().__init__()
        self.algebra = EdgeAlgebra(channels_out)
        self.scalars = channels_out.scalars
        self.linear = O2Linear(inputs, channels_out, gates=channels_out.total - channels_out.scalars)
        self.radial = nn.Sequential(
            nn.Linear(n_radial, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, channels_out.total)
        )

    def forward(self, features: list[Orders], radial: Tensor) -> Orders:
        x, gates = self.linear(features)
        # silu(x) = x sigmoid(x): scalars gate themselves, so one multiplication does gate and radial weight.
        gate = torch.sigmoid(torch.cat([x[0][:, : self.scalars], gates], dim=1))
        return self.algebra.scale(x, gate * self.radial(radial))


class NodeUpdate(nn.Module):
    """Messages from the near pairs into the atoms, with self-connection, normalised scalars and residual."""

    def __init__(self, node: Channels, edge: Channels, out: Channels, config):
        super().__init__()
        self.out, self.scale, self.cutoff = out, config.message_scale, config.message_cutoff
        self.convolution = GatedConvolution([node, node, edge], out, config.n_radial, config.radial_hidden)
        self.after, self.self_connection = NodeLinear(out, out), NodeLinear(node, out)
        self.skip = nn.Identity() if node == out else NodeLinear(node, out)
        self.norm = nn.LayerNorm(out.scalars)

    def forward(self, x: Rows, x_receiver: Orders, x_sender: Orders, e: Orders, radial: Tensor, batch: GraphBatch) -> Rows:
        near = slice(0, batch.n_near)
        features = [[part[near] for part in f] for f in (x_receiver, x_sender, e)]
        message = self.convolution(features, radial[near])
        rows = rotate_out_of_frames(message, [d[near] for d in batch.rotations], self.out)
        flat = torch.cat([row.flatten(1) for row in rows], dim=1)
        flat = flat * (cosine_envelope(batch.distance[near], self.cutoff) / self.scale)[:, None]
        total = flat.new_zeros(batch.n_atoms, flat.shape[1]).index_add(0, batch.receiver[near], flat)
        sizes = [(2 * l + 1) * c for l, c in enumerate(self.out.counts)]
        summed = [part.view(batch.n_atoms, 2 * l + 1, -1) for l, part in enumerate(total.split(sizes, dim=1))]
        new = [a + b for a, b in zip(self.after(summed), self.self_connection(x), strict=True)]
        scalars = self.norm(new[0][:, 0, : self.out.scalars])[:, None]
        new[0] = torch.cat([scalars, new[0][:, :, self.out.scalars :]], dim=2)
        return [a + b for a, b in zip(new, self.skip(x), strict=True)]


class EdgeUpdate(nn.Module):
    """Pair features from both atoms and themselves; everything stays in the frame of the pair."""

    def __init__(self, node: Channels, edge: Channels, out: Channels, config):
        super().__init__()
        self.residual = edge == out
        self.scalars = out.scalars
        self.convolution = GatedConvolution([node, node, edge], out, config.n_radial, config.radial_hidden)
        self.after = O2Linear([out, edge], out)
        self.norm = nn.LayerNorm(out.scalars)

    def forward(self, x_receiver: Orders, x_sender: Orders, e: Orders, radial: Tensor) -> Orders:
        new, _ = self.after([self.convolution([x_receiver, x_sender, e], radial), e])
        scalars, others = new[0].split([self.scalars, new[0].shape[1] - self.scalars], dim=1)
        new[0] = torch.cat([self.norm(scalars), others], dim=1)
        return [a + b for a, b in zip(new, e, strict=True)] if self.residual else new


class ScalarDecoder(nn.Module):
    """Trace labels from the invariants of all TraceGrad blocks."""

    def __init__(self, n_in: int, n_out: int, hidden: int = 128):
        super().__init__()
        last = nn.Linear(hidden, n_out)
        nn.init.normal_(last.weight, std=1 / math.sqrt(hidden))
        self.layers = nn.Sequential(nn.Linear(n_in, hidden), nn.LayerNorm(hidden), nn.SiLU(), last)

    def forward(self, z: list[Tensor]) -> Tensor:
        return self.layers(torch.cat(z, dim=1))
