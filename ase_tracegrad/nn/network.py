"""The network: straight from atoms and pairs to blocks, as the figure of the architecture reads.

Pair features never leave the frame of their pair; atoms carry on-site information; TraceGrad blocks
follow every node and pair update.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..basis import Basis
from .batch import GraphBatch
from .config import NetworkConfig
from .coupling import CommonShells
from .energy_zero import EnergyZero
from .frames import rotate_into_frames
from .harmose import Refiner
from .interaction import EdgeUpdate, NodeUpdate, ScalarDecoder
from .irreps import Channels, NodeLinear, Orders, Rows
from .o2 import O2Linear
from .radial import gaussian_basis
from .readout import BlockReadout
from .tracegrad import TraceGradBlock

log = logging.getLogger(__name__)

LARGEST_REFERENCE = 5.0  # root mean square of the standardised blocks of a reference; nearly all training data are below 2


@dataclass(frozen=True)
class Features:
    """What a backbone hands to the readout: offsite rows (E pairs, in their frames) and onsite rows (N atoms, common axes)
    of the coupled standardised irreps, true scalars of the atoms (N, n), and the inputs of the two trace decoders or None."""

    offsite: Rows
    onsite: Rows
    scalars: Tensor
    offsite_invariants: list[Tensor] | None = None
    onsite_invariants: list[Tensor] | None = None


@dataclass(frozen=True)
class Prediction:
    """offsite (E, U, U) and onsite (N, U, U) blocks in eV over the common shells; trace labels or None.

    Spinors: (E, 4, U, U) and (N, 4, U, U), see spin.py.
    energy_zero (structures,): mu in eV if the model has an energy zero of its own; then H = blocks + mu S.
    scalars (N, n): what the network makes of the surroundings of each atom, unchanged by rotations.
    """

    offsite: Tensor
    onsite: Tensor
    energy_zero: Tensor | None = None
    offsite_trace: Tensor | None = None
    onsite_trace: Tensor | None = None
    scalars: Tensor | None = None


class HamiltonianNetwork(nn.Module):
    """Blocks of H(R) from a GraphBatch.

    elements: atomic numbers, ascending; basis: gives the shells of each. Use one dtype for the module and the batch.
    This class holds the fast backbone; another one overrides ``_build_backbone`` and ``_features`` (see backbones.py).
    """

    backbone = "fast"
    node_scalars: int  # true scalars of the atoms in Features
    invariant_sizes: tuple[int, int]  # widths of the inputs of the two trace decoders
    lmax: int  # of the rotations a batch needs

    def __init__(self, config: NetworkConfig, basis: Basis, elements: list[int]):
        super().__init__()
        if config.backbone != self.backbone:
            raise ValueError(f"{type(self).__name__} is the backbone {self.backbone!r}, not {config.backbone!r}: use build_network")
        self.config, self.elements = config, list(elements)
        self.shells = CommonShells(basis, elements, spinor=config.spinor)
        self._build_backbone(config, len(elements))
        reach = list(self.reach.values())
        tables = self.shells, reach, config.cutoff, config.cutoff_width
        self.readout = BlockReadout(*tables)
        self.reference_tables = BlockReadout(*tables) if config.sees_reference else None
        self.energy_zero = EnergyZero(len(elements), self.node_scalars) if config.energy_zero == "cell-average" else None
        c = config.harmose
        self.refiner = Refiner(c, self.readout, config.cutoff, config.message_cutoff) if c.n_blocks else None
        if self.refiner is not None:
            self.lmax = max(self.lmax, c.harmonics_lmax)
        n_labels, decoder = len(self.shells.shells) ** 2, config.tracegrad.decoder
        self.offsite_trace, self.onsite_trace = (ScalarDecoder(n, n_labels) if decoder else None for n in self.invariant_sizes)

    @property
    def reach(self) -> dict[int, float]:
        """Angstrom of each element: pairs nearer than the sum of both have a block."""
        return self.config.reach_of(self.elements)

    def prepare(self, batches: Sequence[GraphBatch], basis: Basis):
        """Set what a backbone takes from training structures or from the orbitals before it is trained; here nothing."""

    def freeze_first_stage(self):
        """Leave only the second stage to be trained."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("refiner."))

    def _build_backbone(self, config: NetworkConfig, n_elements: int):
        hidden, edge_last, node_last = Channels(config.hidden), Channels(config.edge_last), Channels(config.node_last)
        node = edge = self.embedded = Channels(f"{config.embedding}x0e")
        if config.sees_reference:
            node = edge = self.embedded = Channels(f"{self.embedded}+{self.shells.channels}")
        self.atom_embedding = nn.Embedding(n_elements, config.embedding)
        self.pair_embedding = nn.Embedding(n_elements**2, config.embedding)
        self.blocks = nn.ModuleList()
        for number in range(config.n_blocks):
            last = number == config.n_blocks - 1
            node_out, edge_out = (node_last, edge_last) if last else (hidden, hidden)
            self.blocks.append(InteractionBlock(node, edge, node_out, edge_out, config))
            node, edge = node_out, edge_out
        self.final_node_update = NodeUpdate(node, edge, node, config) if config.final_node_update else None
        self.offsite_head = O2Linear([edge], self.shells.channels)
        self.onsite_head = NodeLinear(node, self.shells.channels, scale=0.3)
        missing = self.shells.missing_onsite(node)
        if missing:
            log.warning("on-site blocks will have no part of type %s: network.node_last has none", ", ".join(missing))
        self.node_channels, self.node_scalars = node, node.scalars
        from_blocks = config.tracegrad.invariants * config.n_blocks
        self.invariant_sizes = (
            from_blocks if config.tracegrad.edges else edge.scalars,
            from_blocks if config.tracegrad.nodes else node.scalars,
        )
        self.lmax = max(hidden.lmax, edge_last.lmax, node_last.lmax, self.shells.channels.lmax)

    def forward(self, batch: GraphBatch, *, with_traces: bool = False, refine: bool = True) -> Prediction:
        """refine: with the second stage, if there is one."""
        features = self._features(batch, with_traces and self.offsite_trace is not None)
        zero = None if self.energy_zero is None else self.energy_zero(features.scalars, batch)
        offsite = self.readout.offsite_blocks(features.offsite, batch)
        onsite = self.readout.onsite_blocks(features.onsite, batch)
        if refine and self.refiner is not None:
            offsite, onsite = self.refiner(self.readout, features, offsite, onsite, batch)
        if self.offsite_trace is None or self.onsite_trace is None or features.offsite_invariants is None:
            return Prediction(offsite, onsite, zero, scalars=features.scalars)
        traces = self.offsite_trace(features.offsite_invariants), self.onsite_trace(features.onsite_invariants)
        return Prediction(offsite, onsite, zero, *traces, features.scalars)

    def _features(self, batch: GraphBatch, invariants: bool) -> Features:
        radial = gaussian_basis(batch.distance, 0.0, self.config.cutoff, self.config.n_radial)
        pair_type = batch.species[batch.receiver] * len(self.elements) + batch.species[batch.sender]
        x = [self.atom_embedding(batch.species)[:, None]]
        e = [gaussian_basis(batch.distance, 0.8, self.config.cutoff, self.config.embedding) + self.pair_embedding(pair_type)]
        if self.reference_tables is not None:
            x, e = self._with_reference(self.reference_tables, x, e, batch)
        ends = rotate_into_frames(x, batch.ends, batch.rotations, self.embedded)
        node_invariants, edge_invariants = [], []
        for block in self.blocks:
            x, ends, e, z_node, z_edge = block(x, ends, e, radial, batch, invariants)
            node_invariants.append(z_node)
            edge_invariants.append(z_edge)
        scalars = x[0][:, 0, : self.node_scalars]
        if self.final_node_update is not None:
            x = self.final_node_update(x, ends, e, radial, batch)
        offsite, onsite = self.shells.channels.to_rows(self.offsite_head([e])[0]), self.onsite_head(x)
        if not invariants:
            return Features(offsite, onsite, scalars)
        c = self.config.tracegrad
        z_edges = edge_invariants if c.edges else [e[0][:, : self.blocks[-1].edge_scalars]]
        return Features(offsite, onsite, scalars, z_edges, node_invariants if c.nodes else [scalars])

    def _with_reference(self, tables: BlockReadout, x: Rows, e: Orders, batch: GraphBatch) -> tuple[Rows, Orders]:
        """The first features of atoms and pairs, with the standardised blocks of the Hamiltonian of the initial density behind."""
        if batch.offsite_reference is None or batch.onsite_reference is None:
            raise ValueError("this network sees the Hamiltonian of the initial density: the batch needs its blocks")
        offsite, onsite = map(_bound_size, tables.standardize(batch.offsite_reference, batch.onsite_reference, batch))
        x = [torch.cat([x[0], onsite[0]], dim=2), *onsite[1:]]
        return x, self.embedded.to_orders([torch.cat([e[0][:, None], offsite[0]], dim=2), *offsite[1:]])


class InteractionBlock(nn.Module):
    """Node update, TraceGrad, pair update, TraceGrad."""

    def __init__(self, node: Channels, edge: Channels, node_out: Channels, edge_out: Channels, config: NetworkConfig):
        super().__init__()
        self.node_out, self.edge_scalars = node_out, edge_out.scalars
        self.node_update = NodeUpdate(node, edge, node_out, config)
        self.edge_update = EdgeUpdate(node_out, edge, edge_out, config)
        c = config.tracegrad
        options: dict[str, Any] = {name: getattr(c, name) for name in ("full", "hidden", "invariants", "gradient")}
        options["rank"] = c.rank or None
        self.node_tracegrad = TraceGradBlock(node_out, "node", **options) if c.nodes else None
        self.edge_tracegrad = TraceGradBlock(edge_out, "edge", **options) if c.edges else None

    def forward(self, x, ends, e, radial: Tensor, batch: GraphBatch, invariants: bool):
        z_node = z_edge = None
        x = self.node_update(x, ends, e, radial, batch)
        if self.node_tracegrad is not None:
            x, z_node = self.node_tracegrad(x, invariants=invariants)
        # Rotated once; the next node update uses the same frames.
        ends = rotate_into_frames(x, batch.ends, batch.rotations, self.node_out)
        e = self.edge_update(ends, e, radial)
        if self.edge_tracegrad is not None:
            e, z_edge = self.edge_tracegrad(e, invariants=invariants)
        return x, ends, e, z_node, z_edge


def _bound_size(rows: Rows) -> Rows:
    """Rows, those of each atom or pair shrunk to at most about the size LARGEST_REFERENCE.

    Pairs of elements at distances that were never seen may be thousands of spreads away from the mean.
    """
    n = sum(row.shape[1] * row.shape[2] for row in rows)
    squares = torch.stack([row.square().sum((1, 2)) for row in rows]).sum(0) / n
    factor = torch.rsqrt(1 + squares / LARGEST_REFERENCE**2)[:, None, None]
    return [row * factor for row in rows]


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
