"""What a network takes from the training data before its first step: units, baselines, and those of a second stage."""

import torch

from ..basis import Basis
from ..nn.network import HamiltonianNetwork
from .channels import flatten_distance
from .dataset import LabelledGraph
from .loss import MEV, element_errors
from .targets import fit_reference, fit_standardization

MEASURED = 64  # structures that a network sees before training, see HamiltonianNetwork.prepare


def prepare_network(network: HamiltonianNetwork, graphs: list[LabelledGraph], basis: Basis, standardize: bool | str):
    """Fill all tables of a network; standardize as in TrainingConfig."""
    if standardize:
        fit_standardization(network, graphs)
    fit_reference(network, graphs)
    if standardize == "per-channel":
        flatten_distance(network, graphs)
    network.prepare([graph.batch for graph in graphs[:MEASURED]], basis)


@torch.no_grad()
def fit_refinement(network: HamiltonianNetwork, graphs: list[LabelledGraph]):
    """Make the error that stage 1 leaves the unit of the second stage: root mean square over the training data, in spreads.

    Over the elements between orbitals that exist: outputs in the padding are never trained.
    """
    refiner = network.refiner
    if refiner is None:
        raise ValueError("this network has no second stage: set network.harmose.n_blocks")
    readout, squares, counts = network.readout, torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for graph in graphs:
        batch, masks = graph.batch, (graph.offsite_mask, graph.onsite_mask)
        errors = element_errors(network(batch, refine=False), graph, readout.envelope(batch))
        offsite, onsite = (error / MEV if mask is None else error / MEV * mask for error, mask in zip(errors, masks, strict=True))
        coupled = (
            readout.couple_offsite(offsite, batch) / readout.statistics(batch)[1],
            readout.couple_onsite(onsite) / readout.onsite_spread[batch.species],
        )
        for k, (error, mask) in enumerate(zip(coupled, masks, strict=True)):
            squares[k] += error.double().square().sum()
            counts[k] += error.numel() if mask is None else mask.sum()
    refiner.unit.copy_((squares / counts).sqrt())
