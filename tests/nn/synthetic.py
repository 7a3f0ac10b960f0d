"""A small network in float64 for elements with different shells, up to g, and structures it knows."""

import torch

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.config import NetworkConfig, TraceGradConfig
from ase_tracegrad.nn.network import HamiltonianNetwork
from ase_tracegrad.nn.predictor import Predictor

SHELLS = {1: (0, 0, 1), 6: (0, 1, 0, 2), 22: (0, 1, 2, 3), 58: (0, 1, 3, 4)}  # 58 has no d shell, 6 lists its shells unsorted


def make_basis(elements) -> Basis:
    return Basis({z: AtomicBasis(z, SHELLS[z], (), float(min(z, 4))) for z in elements}, "synthetic", "none", "PBE")


def make_config(**changes) -> NetworkConfig:
    """Both parities at every l, irreps beyond l = 4 before the heads."""
    settings = {
        "cutoff": 4.0,
        "cutoff_width": 0.5,
        "message_cutoff": 3.0,
        "embedding": 6,
        "n_radial": 12,
        "radial_hidden": 8,
        "hidden": "6x0e+2x0o+3x1o+2x1e+3x2e+2x2o+2x3o+1x3e+2x4e+1x4o",
        "edge_last": "6x0e+1x0o+4x1o+2x1e+3x2e+2x2o+2x3o+2x3e+2x4e+1x4o+1x5o+1x6e",
        "node_last": "6x0e+4x1o+2x1e+3x2e+2x2o+2x3o+2x3e+2x4e+1x4o",
        "tracegrad": TraceGradConfig(hidden=8, invariants=5),
    }
    return NetworkConfig(**settings | changes)


def fill_statistics(network: HamiltonianNetwork, seed: int = 5):
    """Random standardisation tables that rotation symmetry allows."""
    generator = torch.Generator().manual_seed(seed)
    facts, readout = network.shells.components, network.readout
    order = facts["piece"] * 100 + facts["order"]

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    readout.baseline.copy_(random(*readout.baseline.shape) * facts["two_centre"])
    readout.spread.copy_((0.3 * random(*readout.spread.shape[:2], int(order.max()) + 1)).exp()[:, :, order])
    readout.onsite_mean.copy_(random(*readout.onsite_mean.shape) * facts["invariant"])
    readout.onsite_spread.copy_((0.3 * random(len(network.elements), int(order.max()) + 1)).exp()[:, facts["piece"]])


def make_predictor(elements=(1, 6, 22, 58), *, dtype=torch.float64, seed=0, **changes) -> Predictor:
    basis = make_basis(elements)
    torch.manual_seed(seed)
    network = HamiltonianNetwork(make_config(**changes), basis, list(elements)).double()
    fill_statistics(network)
    return Predictor(network.to(dtype), basis, make_card(network, basis))


def make_card(network: HamiltonianNetwork, basis: Basis) -> ModelCard:
    return ModelCard("synthetic", "random weights", network.elements, basis.name, basis.code, basis.xc, network.config.cutoff)
