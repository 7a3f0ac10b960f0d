"""The backbone of QHNet (H. Yu et al., ICML 2023, arXiv 2306.04922) for any elements and orbitals, with TraceGrad blocks.

Messages between atoms; from their features on-site and pair features, which are expanded into blocks. Messages are O(2)
matrices in the frame of the pair, exactly equal to the products with harmonics (channel_convolution.py); on-site and pair
layers are true Clebsch-Gordan products (channel_product.py). Differences from the public code (divelab/AIRS, QHBench/QH9):

* natural and pseudo irreps are kept apart in the pair features. There 1o and 1e (2e and 2o, ...) are one feature, which is
  equivariant under rotations but not under inversion; pseudo irreps that no block needs are left out;
* an invariant of a pair takes the scalars of both atoms; there it takes those of the receiver twice;
* the matrices of the expansion are made once for each pair of elements and not for each pair of atoms: the same numbers;
* products are normalised by their number of paths; the bias of the expansion is not divided by the number of channels.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..basis import Basis
from ..units import HARTREE
from .batch import GraphBatch, join_batches
from .config import NetworkConfig
from .irreps import Channels, Rows
from .network import Features, HamiltonianNetwork
from .overlap_table import OverlapTable
from .qhnet_layers import Expansion, MessageLayer, OnsiteLayer, PairLayer, RowLinear, SoftNorm, product_norm
from .radial import bernstein_basis
from .tracegrad import TraceGradBlock


class QHNetNetwork(HamiltonianNetwork):
    """Blocks of H(R) from a GraphBatch, by the layers of QHNet."""

    backbone = "qhnet"

    def __init__(self, config: NetworkConfig, basis: Basis, elements: list[int]):
        super().__init__(config, basis, elements)
        # Labels that are not standardised are learned in Hartree, as published.
        self.readout.spread.fill_(HARTREE)
        self.readout.onsite_spread.fill_(HARTREE)

    def _build_backbone(self, config: NetworkConfig, n_elements: int):
        c, traces, target = config.qhnet, config.tracegrad, self.shells.channels
        self.overlaps = OverlapTable(self.shells, config.cutoff) if c.overlap else None
        if self.overlaps is not None:
            c = replace(c, n_radial=c.n_radial + self.overlaps.n_traces)
        if target.lmax > 2 * c.lmax:
            raise ValueError(
                f"the blocks of H need irreps up to l = {target.lmax}: set qhnet.lmax to {-(-target.lmax // 2)} or more"
            )
        atom = _equal_channels(c.hidden, range(c.lmax + 1), ())
        natural, pseudo = ([l for l, count in enumerate(counts) if count] for counts in (target.natural, target.pseudo))
        pair = _equal_channels(c.hidden, {*range(c.lmax + 1), *natural}, pseudo)
        few = _equal_channels(c.bottleneck, natural, pseudo)
        embedded = Channels(f"{c.hidden}x0e")
        self.atom_embedding = nn.Embedding(n_elements, c.hidden)
        self.decay = nn.Parameter(torch.tensor(math.log(math.expm1(c.radial_decay))))
        self.messages = nn.ModuleList(MessageLayer(atom if k else embedded, atom, c, first=k == 0) for k in range(c.n_layers))
        self.onsite_layers, self.pair_layers = (
            nn.ModuleList(kind(atom, pair, c) for _ in range(c.n_pair_layers)) for kind in (OnsiteLayer, PairLayer)
        )
        self.atom_traces = self._trace_blocks(atom, c.n_layers if traces.nodes else 0)
        self.onsite_traces, self.pair_traces = (self._trace_blocks(pair, c.n_pair_layers if traces.edges else 0) for _ in range(2))
        self.onsite_output, self.pair_output = (RowLinear(pair, few, bias=False) for _ in range(2))
        self.onsite_norm, self.pair_norm = (product_norm(c, few.lmax) for _ in range(2))
        self.onsite_expansion = Expansion(few, target, c.hidden, c.hidden, normalize=c.normalize)
        self.pair_expansion = Expansion(few, target, 2 * c.hidden, c.hidden, normalize=c.normalize)
        self.node_scalars = c.hidden
        from_pairs = traces.invariants * c.n_pair_layers * traces.edges
        from_atoms = traces.invariants * c.n_layers * traces.nodes
        self.invariant_sizes = (from_pairs or c.hidden, from_atoms + from_pairs or c.hidden)
        self.lmax = max(c.lmax, target.lmax)

    def _trace_blocks(self, channels: Channels, number: int) -> nn.ModuleList:
        c = self.config.tracegrad
        options: dict[str, Any] = {name: getattr(c, name) for name in ("full", "hidden", "invariants", "gradient")}
        options["rank"] = c.rank or None
        return nn.ModuleList(TraceGradBlock(channels, "node", **options) for _ in range(number))

    def _features(self, batch: GraphBatch, invariants: bool) -> Features:
        c, traces = self.config.qhnet, self.config.tracegrad
        radial = bernstein_basis(batch.distance, softplus(self.decay), self.config.message_cutoff, c.n_radial)
        if self.overlaps is not None:
            radial = torch.cat([radial, self.overlaps(batch)], dim=1)
        x: Rows = [self.atom_embedding(batch.species)[:, None]]
        onsite = pair = None
        z_atom: list[Tensor] = []
        z_onsite: list[Tensor] = []
        z_pair: list[Tensor] = []
        for number, layer in enumerate(self.messages):
            x = _with_trace(layer(x, radial[: batch.n_near], batch), self.atom_traces, number, invariants, z_atom)
            later = number - (c.n_layers - c.n_pair_layers)
            if later < 0:
                continue
            onsite = _with_trace(self.onsite_layers[later](x, onsite), self.onsite_traces, later, invariants, z_onsite)
            pair = _with_trace(self.pair_layers[later](x, pair, radial, batch), self.pair_traces, later, invariants, z_pair)
        assert onsite is not None
        assert pair is not None
        features = Features(self._expand_pairs(pair, batch), self._expand_atoms(onsite, batch), x[0][:, 0])
        if not invariants:
            return features
        return replace(
            features,
            offsite_invariants=z_pair if traces.edges else [pair[0][:, 0]],
            onsite_invariants=z_atom + z_onsite if z_atom or z_onsite else [onsite[0][:, 0]],
        )

    @torch.no_grad()
    def prepare(self, batches: Sequence[GraphBatch], basis: Basis):
        """Fill the table of overlaps; make the sizes of the features of these structures the units of the products (SoftNorm)."""
        if self.overlaps is not None:
            self.overlaps.fill(basis)
        norms = [module for module in self.modules() if isinstance(module, SoftNorm)]
        if not norms:
            return
        for norm in norms:
            norm.measuring = True
        self._features(join_batches(batches)[0], False)
        for norm in norms:
            norm.measuring = False

    def _expand_atoms(self, onsite: Rows, batch: GraphBatch) -> Rows:
        return self.onsite_expansion(self.onsite_norm(self.onsite_output(onsite)), self.atom_embedding.weight, batch.species)

    def _expand_pairs(self, pair: Rows, batch: GraphBatch) -> Rows:
        """In the frames of the pairs, where the readout has its tables."""
        n, embedding = len(self.elements), self.atom_embedding.weight
        both = torch.cat([embedding.repeat_interleave(n, 0), embedding.repeat(n, 1)], dim=1)
        rows = self.pair_expansion(
            self.pair_norm(self.pair_output(pair)), both, batch.species[batch.receiver] * n + batch.species[batch.sender]
        )
        return [row if l == 0 else torch.bmm(batch.rotations[l].transpose(1, 2), row) for l, row in enumerate(rows)]


def _equal_channels(count: int, natural, pseudo) -> Channels:
    """The same number of channels of every l listed."""
    terms = [f"{count}x{l}{'eo'[l % 2]}" for l in sorted(natural)] + [f"{count}x{l}{'oe'[l % 2]}" for l in pseudo]
    return Channels("+".join(terms))


def _with_trace(rows: Rows, blocks: nn.ModuleList, number: int, invariants: bool, z: list[Tensor]) -> Rows:
    """Rows after the TraceGrad block of this number, if there is one, whose invariants go to the list ``z``."""
    if not len(blocks):
        return rows
    out, found = blocks[number](rows, invariants=invariants)
    if found is not None:
        z.append(found)
    return out
