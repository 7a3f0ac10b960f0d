"""The structures and models that the tests of the calculator run on."""

import pytest
import torch
from ase.build import bulk, graphene

from ase_tracegrad import TraceGradCalculator, available_models
from ase_tracegrad.basis import Basis
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.config import NetworkConfig, TraceGradConfig
from ase_tracegrad.nn.network import HamiltonianNetwork
from tests.standin_model import StandInPredictor

EMBEDDED = "graphene-pbe"


def make_atoms(case: str, **parameters):
    """(atoms with a calculator, a band path) of one of CASES."""
    if case == "silicon":
        atoms, path, model = bulk("Si"), "LGX", StandInPredictor()
    else:
        atoms, path = graphene(a=2.46, vacuum=5.0), "GMKG"
        model = StandInPredictor() if case == "graphene" else EMBEDDED
    size = (4, 4, 4) if case == "silicon" else (6, 6, 1)
    atoms.calc = TraceGradCalculator(model, **{"kpts": size} | parameters)
    return atoms, path


needs_embedded = pytest.mark.skipif(EMBEDDED not in available_models(), reason=f"the embedded model {EMBEDDED} is not built yet")
CASES = ["silicon", "graphene", pytest.param(EMBEDDED, marks=needs_embedded)]
every_case = pytest.mark.parametrize("case", CASES)
every_sheet = pytest.mark.parametrize("case", CASES[1:])
no_energy_warning = pytest.mark.filterwarnings("ignore:TraceGrad predicts a Hamiltonian, not a total energy")


def count_predictions(calc, monkeypatch) -> list:
    """A list that grows with every structure the network is asked about."""
    seen: list = []
    predict = calc.predictor.predict

    def counted(structures, overlaps=None):
        seen.extend(structures)
        return predict(structures, overlaps)

    monkeypatch.setattr(calc.predictor, "predict", counted, raising=False)
    return seen


def write_untrained_model(path, basis: Basis, seed: int = 0) -> None:
    """A checkpoint with random weights: everything about a model but its physics."""
    torch.manual_seed(seed)
    last = "4x0e+4x1o+4x2e"
    small = {
        "n_blocks": 1,
        "embedding": 4,
        "n_radial": 8,
        "radial_hidden": 8,
        "hidden": "4x0e",
        "edge_last": last,
        "node_last": last,
    }
    config = NetworkConfig(cutoff=4.0, message_cutoff=3.0, tracegrad=TraceGradConfig(hidden=4, invariants=4), **small)
    card = ModelCard("untrained", "random weights, for tests", sorted(basis.atoms), basis.name, basis.code, basis.xc, config.cutoff)
    card.domain.update(pairs={"C-C": {"shortest": 1.1}})
    network = HamiltonianNetwork(config, basis, card.elements)
    network.readout.spread.fill_(0.01)  # eV: random hoppings of the size of S would be ghost states
    save_checkpoint(path, network, basis, card)
