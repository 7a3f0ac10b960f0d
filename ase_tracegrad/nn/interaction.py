"""Node and pair updates: O(2) convolution, gate, radial weights, residual."""

import math

import torch
from torch import Tensor, nn

from .batch import GraphBatch
from .frames import add_up_out_of_frames
from .gate import gate_and_weigh, normalize_scalars
from .irreps import Channels, NodeLinear, Orders, Rows
from .o2 import O2Linear
from .radial import cosine_envelope


def rotate_out_of_frames(orders: Orders, rotations: list[Tensor], channels: Channels) -> Rows:
    """Pair features back in the common axes."""
    return [row if l == 0 else torch.bmm(rotations[l], row) for l, row in enumerate(channels.to_rows(orders))]


class GatedConvolution(nn.Module):
    """O2Linear, then SiLU on scalars and a sigmoid gate on the rest, times weights that depend on the distance."""

    def __init__(self, inputs: list[Channels], channels_out: Channels, n_radial: int, hidden: int):
        super().__init__()
        self.linear = O2Linear(inputs, channels_out, gates=channels_out.total - channels_out.scalars)
        self.radial = nn.Sequential(
            nn.Linear(n_radial, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, channels_out.total)
        )

    def forward(self, features: list[Orders], radial: Tensor, envelope: Tensor | None = None) -> Orders:
        x, gates = self.linear(features, len(radial))
        weight = self.radial(radial)
        return gate_and_weigh(x, gates, weight if envelope is None else weight * envelope[:, None])


class NodeUpdate(nn.Module):
    """Messages from the near pairs into the atoms, with self-connection, normalised scalars and residual."""

    def __init__(self, node: Channels, edge: Channels, out: Channels, config):
        super().__init__()
        self.out, self.scale, self.cutoff = out, config.message_scale, config.message_cutoff
        self.convolution = GatedConvolution([node, node, edge], out, config.n_radial, config.radial_hidden)
        self.after, self.self_connection = NodeLinear(out, out), NodeLinear(node, out)
        self.skip = nn.Identity() if node == out else NodeLinear(node, out)
        self.norm = nn.LayerNorm(out.scalars)

    def forward(self, x: Rows, ends: Orders, e: Orders, radial: Tensor, batch: GraphBatch) -> Rows:
        near = slice(0, batch.n_near)
        envelope = cosine_envelope(batch.distance[near], self.cutoff) / self.scale
        message = self.convolution([ends, e], radial[near], envelope)
        summed = add_up_out_of_frames(message, batch.receiver[near], [d[near] for d in batch.rotations], self.out, batch.n_atoms)
        new = [a + b for a, b in zip(self.after(summed), self.self_connection(x), strict=True)]
        scalars = self.norm(new[0][:, 0, : self.out.scalars])[:, None]
        new[0] = torch.cat([scalars, new[0][:, :, self.out.scalars :]], dim=2)
        return [a + b for a, b in zip(new, self.skip(x), strict=True)]


class EdgeUpdate(nn.Module):
    """Pair features from both atoms and themselves; everything stays in the frame of the pair."""

    def __init__(self, node: Channels, edge: Channels, out: Channels, config):
        super().__init__()
        self.residual = edge == out
        self.convolution = GatedConvolution([node, node, edge], out, config.n_radial, config.radial_hidden)
        self.after = O2Linear([out, edge], out)
        self.norm = nn.LayerNorm(out.scalars)

    def forward(self, ends: Orders, e: Orders, radial: Tensor) -> Orders:
        new, _ = self.after([self.convolution([ends, e], radial), e])
        if not self.residual:
            return [normalize_scalars(self.norm, new[0]), *new[1:]]
        return [normalize_scalars(self.norm, new[0], e[0]), *(a + b for a, b in zip(new[1:], e[1:], strict=True))]


class ScalarDecoder(nn.Module):
    """Trace labels from the invariants of all TraceGrad blocks."""

    def __init__(self, n_in: int, n_out: int, hidden: int = 128):
        super().__init__()
        last = nn.Linear(hidden, n_out)
        nn.init.normal_(last.weight, std=1 / math.sqrt(hidden))
        self.layers = nn.Sequential(nn.Linear(n_in, hidden), nn.LayerNorm(hidden), nn.SiLU(), last)

    def forward(self, z: list[Tensor]) -> Tensor:
        return self.layers(torch.cat(z, dim=1))
