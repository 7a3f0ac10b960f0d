"""Plain standardisation, for comparison: every irrep of a block in units of its own spread, no two-centre baseline."""

import torch

from ..nn.network import HamiltonianNetwork
from .dataset import LabelledGraph
from .targets import MIN_OFFSITE_SPREAD, local_blocks


@torch.no_grad()
def flatten_distance(network: HamiltonianNetwork, graphs: list[LabelledGraph]):
    """Replace the off-site tables that depend on the distance by one root mean square of each irrep and pair of elements.

    The on-site tables, which are like that already, stay as fit_standardization left them.
    """
    readout, piece = network.readout, network.shells.components["piece"]
    coupled = torch.cat([readout.couple_offsite(local_blocks(network, g)[0], g.batch) for g in graphs]).double()
    n_elements = len(network.elements)
    pair_type = torch.cat([g.batch.species[g.batch.receiver] * n_elements + g.batch.species[g.batch.sender] for g in graphs])
    readout.baseline.zero_()
    for t in pair_type.unique().tolist():
        square = coupled[pair_type == t].square().mean(0)
        for p in piece.unique():
            square[piece == p] = square[piece == p].mean()
        readout.spread[t].copy_(square.sqrt().clamp_min(MIN_OFFSITE_SPREAD).expand_as(readout.spread[t]))
