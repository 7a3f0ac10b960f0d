"""The Hamiltonian of the initial density, and networks that predict the difference from it."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.io.qh9 import pyscf_matrix
from ase_tracegrad.labels.errors import LabelError
from ase_tracegrad.labels.initial_hamiltonian import initial_hamiltonian
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.config import ConfigError, NetworkConfig, QHNetConfig, TraceGradConfig
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.nn.predictor import Predictor
from ase_tracegrad.structure import Structure
from ase_tracegrad.units import HARTREE
from tests.nn.synthetic import make_card

pytest.importorskip("pyscf", reason="PySCF makes these Hamiltonians: pip install 'ase_tracegrad[molecules]'")

SMALL = QHNetConfig(hidden=4, lmax=2, bottleneck=3, n_layers=2, n_pair_layers=1, n_radial=8, message_hidden=6)


@pytest.fixture(scope="module")
def water():
    """A label of water with its reference."""
    from ase_tracegrad.labels.pyscf import compute_molecule_labels

    sample = compute_molecule_labels(molecule("H2O"))
    return replace(sample, reference=initial_hamiltonian(sample.structure, sample.basis))


@pytest.fixture
def predictor(water) -> Predictor:
    config = NetworkConfig(
        backbone="qhnet",
        cutoff=6.0,
        message_cutoff=6.0,
        reference="minao",
        qhnet=SMALL,
        tracegrad=TraceGradConfig(nodes=False, edges=False, decoder=False),
    )
    network = build_network(config, water.basis, [1, 8]).double()
    return Predictor(network, water.basis, make_card(network, water.basis))


def test_it_is_the_fock_matrix_of_the_minao_density(water):
    """Against PySCF on the fine grid; near the converged one, and in our order of orbitals."""
    from pyscf import dft, gto

    atoms = molecule("H2O")
    mol = gto.M(atom=list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)), basis="def2-svp", verbose=0)
    calculation = dft.RKS(mol, xc="b3lyp5")
    expected = calculation.get_fock(dm=calculation.get_init_guess(key="minao"))
    errors = np.abs(pyscf_matrix(water.reference) / HARTREE - expected)
    assert errors.mean() < 5e-6
    assert errors.max() < 3e-4, "of the 1s orbital, which the coarse grid resolves least"
    difference = np.abs((water.hamiltonian - water.reference).values)
    assert 0 < difference.mean() < 0.1 * np.abs(water.hamiltonian.values).mean()


def test_what_is_learned_and_what_is_predicted(water, predictor):
    """The labels are the difference; a prediction is the network's answer plus the reference, given or computed."""
    graph = label_graph("water", water, predictor.network)
    plain = build_network(replace(predictor.network.config, reference="none"), water.basis, [1, 8])
    whole = label_graph("water", water, plain)
    mean = float(graph.onsite.abs().mean())
    assert 0 < mean < 0.1 * float(whole.onsite.abs().mean())
    given, computed = (predictor.predict([water.structure], references=r)[0] for r in ([water.reference], None))
    assert np.array_equal(given.values, computed.values)
    (bare,) = Predictor(plain.double(), water.basis, predictor.card).predict([water.structure])
    plain.load_state_dict(predictor.network.state_dict())
    (bare,) = Predictor(plain, water.basis, predictor.card).predict([water.structure])
    assert np.abs((given - water.reference - bare).values).max() < 1e-12


def test_labels_without_it_are_refused(water, predictor):
    with pytest.raises(ValueError, match=r"python training/add_references\.py"):
        label_graph("water", replace(water, reference=None), predictor.network)


def test_crystals_are_refused(water, predictor):
    crystal = Structure(water.structure.numbers, water.structure.positions, 9 * np.eye(3), np.ones(3, dtype=bool))
    with pytest.raises(LabelError, match="this model is one of molecules"):
        initial_hamiltonian(crystal, water.basis)
    with pytest.raises(UnsupportedStructureError, match=r"one of molecules: set atoms\.pbc = False"):
        predictor.check(crystal)
    with pytest.raises(ConfigError, match="a reference belongs to molecules"):
        NetworkConfig(reference="minao", energy_zero="cell-average")
    with pytest.raises(ConfigError, match="reference must be one of none, minao, found 'atoms'"):
        NetworkConfig(reference="atoms")
