"""The backbone of DeepH-E3 (X. Gong et al., Nat. Commun. 14, 2848 (2023), arXiv 2210.13955) on the O(2) operation.

As published, and as its public code has it: on-site pairs are pairs, all pairs pass messages, one head gives on-site and
off-site blocks. Differences: blocks are made Hermitian; TraceGrad blocks may follow every update. The published network is
not smooth at its cut-off: a pair comes with a full message and a full block, and with the norm over the structure it shifts
every other pair at once. cutoff_width = 0 keeps that; a positive cutoff_width ends messages and blocks smoothly (use the
norm 'local' with it), which is another network from the same layers.
"""

import logging
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from .batch import GraphBatch
from .config import NetworkConfig
from .deeph_e3_layers import AtomUpdate, ChannelLinear, PairUpdate
from .irreps import Channels, Orders
from .network import Features, HamiltonianNetwork
from .path_weights import irreps_of, reachable
from .radial import gaussian_basis
from .sorted_graph import SortedGraph, sort_graph
from .tracegrad import TraceGradBlock

log = logging.getLogger(__name__)

PAIR_GAUSSIANS_END = 6.0  # Angstrom; of the first pair features, fixed in the original


class DeepHE3Network(HamiltonianNetwork):
    """Blocks of H(R) from a GraphBatch, by the layers of DeepH-E3."""

    backbone = "deeph-e3"

    def _build_backbone(self, config: NetworkConfig, n_elements: int):
        c = config.deeph_e3
        target = self.shells.channels
        hidden = Channels(c.hidden)
        edge_last = Channels(c.edge_last or str(target))
        node_last = Channels(c.node_last) if c.node_last else complete_irreps(hidden, edge_last, c.filter_lmax)
        self.atom_embedding = nn.Embedding(n_elements, c.embedding)
        atom = pair = Channels(f"{c.embedding}x0e")
        self.blocks = nn.ModuleList()
        for number in range(c.n_blocks):
            last = number == c.n_blocks - 1
            block = DeepHE3Block(atom, pair, *((node_last, edge_last) if last else (hidden, hidden)), config, n_elements)
            self.blocks.append(block)
            atom, pair = block.atom, block.pair
            before = block.pair_before
        missing = _missing(pair, target)
        if missing:
            raise ValueError(
                f"the blocks of H need the irreps {missing}, which the last pair features do not hold: add them to "
                "deeph_e3.edge_last, or irreps that lead to them to deeph_e3.node_last"
            )
        lost = self.shells.missing_onsite(Channels(f"{atom}+{before}"))
        if lost:
            log.warning("on-site blocks will have no part of type %s, as published: deeph_e3.node_last has none", ", ".join(lost))
        self.head = ChannelLinear(pair, target, bias=True)
        self.node_scalars = atom.scalars
        self.pair_scalars = pair.scalars
        traces = config.tracegrad
        from_blocks = traces.invariants * c.n_blocks
        onsite = from_blocks * (traces.edges + traces.nodes)
        self.invariant_sizes = (from_blocks if traces.edges else pair.scalars, onsite or pair.scalars)
        self.lmax = max(channels.lmax for channels in (hidden, edge_last, node_last, target))

    def _features(self, batch: GraphBatch, invariants: bool) -> Features:
        c, traces = self.config.deeph_e3, self.config.tracegrad
        graph = sort_graph(batch, len(self.elements))
        radial = gaussian_basis(graph.distance, 0.0, c.radial_cutoff, c.n_radial)
        envelope = None
        if self.config.cutoff_width > 0:
            reach = self.readout.reach[graph.species]
            envelope = self.readout.end_smoothly(graph.distance, reach[graph.receiver] + reach[graph.sender])
        x: Orders = [self.atom_embedding(graph.species) / len(self.elements) ** 0.5]
        e: Orders = [gaussian_basis(graph.distance, 0.0, PAIR_GAUSSIANS_END, c.embedding)]
        atom_invariants, pair_invariants = [], []
        for block in self.blocks:
            x, e, z_atom, z_pair = block(x, e, radial, envelope, graph, invariants)
            atom_invariants.append(z_atom)
            pair_invariants.append(z_pair)
        offsite, onsite = graph.split(self.head(e))
        to_rows = self.shells.channels.to_rows
        features = Features(
            [row.index_select(0, graph.pair_rank) for row in to_rows(offsite)],
            [row.index_select(0, graph.atom_rank) for row in to_rows(onsite)],
            x[0][:, : self.node_scalars].index_select(0, graph.atom_rank),
        )
        if not invariants:
            return features
        z = pair_invariants if traces.edges else [e[0][:, : self.pair_scalars]]
        z_offsite, z_onsite = graph.split(z)
        if traces.nodes:
            z_onsite = atom_invariants + (z_onsite if traces.edges else [])
        return replace(
            features,
            offsite_invariants=[part.index_select(0, graph.pair_rank) for part in z_offsite],
            onsite_invariants=[part.index_select(0, graph.atom_rank) for part in z_onsite],
        )


class DeepHE3Block(nn.Module):
    """Atom update, TraceGrad, pair update, TraceGrad; atom and pair: the irreps it gives."""

    def __init__(
        self, atom: Channels, pair: Channels, wanted_atom: Channels, wanted_pair: Channels, config: NetworkConfig, n_elements: int
    ):
        super().__init__()
        self.atom_update = AtomUpdate(atom, pair, wanted_atom, n_elements, config.deeph_e3)
        self.atom = self.atom_update.out
        self.pair_before = pair
        self.pair_update = PairUpdate(self.atom, pair, wanted_pair, n_elements, config.deeph_e3)
        self.pair = self.pair_update.out
        c = config.tracegrad
        options: dict[str, Any] = {name: getattr(c, name) for name in ("full", "hidden", "invariants", "gradient")}
        options["rank"] = c.rank or None
        # On-site pairs stand among the pairs; in the common axes rows and orders differ in layout only.
        self.atom_tracegrad = TraceGradBlock(self.atom, "edge", **options) if c.nodes else None
        self.pair_tracegrad = TraceGradBlock(self.pair, "edge", **options) if c.edges else None

    def forward(
        self, x: Orders, e: Orders, radial: Tensor, envelope: Tensor | None, graph: SortedGraph, invariants: bool
    ) -> tuple[Orders, Orders, Tensor | None, Tensor | None]:
        z_atom = z_pair = None
        x = self.atom_update(x, e, radial, envelope, graph)
        if self.atom_tracegrad is not None:
            x, z_atom = self.atom_tracegrad(x, invariants=invariants)
        e = self.pair_update(x, e, radial, graph)
        if self.pair_tracegrad is not None:
            e, z_pair = self.pair_tracegrad(e, invariants=invariants)
        return x, e, z_atom, z_pair


def complete_irreps(hidden: Channels, target: Channels, filter_lmax: int) -> Channels:
    """Irreps of the last atom features, as published: ``hidden``, and the fewest of the other parity without which the last
    pair update cannot reach ``target`` (spin-orbit blocks have 0o, which takes 1e)."""
    text = str(hidden)
    for l, natural, _, _ in irreps_of(target):
        wanted = Channels(_term(1, l, natural))
        if _reaches([Channels(text), hidden], filter_lmax, wanted):
            continue
        for partner in range(filter_lmax + l + 1):
            for kind in (True, False):
                added = Channels(_term(1, partner, kind))
                if _reaches([added], filter_lmax, wanted) and _reaches([hidden], filter_lmax, added):
                    break
            else:
                continue
            text += "+" + _term(hidden.counts[min(partner, hidden.lmax)], partner, kind)
            break
    return Channels(text)


def _reaches(inputs: list[Channels], filter_lmax: int, wanted: Channels) -> bool:
    return bool(reachable(inputs, filter_lmax, wanted).total)


def _term(count: int, l: int, natural: bool) -> str:
    return f"{count}x{l}{'e' if (l % 2 == 0) == natural else 'o'}"


def _missing(have: Channels, need: Channels) -> str:
    present = {ir[:2] for ir in irreps_of(have)}
    return "+".join(_term(count, l, natural) for l, natural, _, count in irreps_of(need) if (l, natural) not in present)
