"""Spin-orbit coupling end to end on OpenMX's bilayer bismuthene: its labels, and a model that knows only their statistics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.special import ndtr

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.kmesh import make_list
from ase_tracegrad.electronic.symmetry import time_reversal_residual
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.metrics import hamiltonian_error
from ase_tracegrad.fit.targets import fit_standardization
from ase_tracegrad.io import read, read_basis
from ase_tracegrad.nn.assembly import to_block_matrices
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.config import NetworkConfig, TraceGradConfig
from ase_tracegrad.nn.domain import describe_domain
from ase_tracegrad.nn.network import HamiltonianNetwork, Prediction
from ase_tracegrad.nn.predictor import Predictor, load_model

IRREPS = "4x0e+2x0o+3x1o+2x1e+2x2e+1x2o+1x3o+1x3e+1x4e+1x4o+1x5e"
NETWORK = NetworkConfig(
    cutoff=8.5,
    cutoff_width=0.1,
    message_cutoff=4.5,
    n_blocks=1,
    embedding=4,
    n_radial=12,
    radial_hidden=4,
    hidden=IRREPS,
    edge_last=IRREPS,
    node_last=IRREPS,
    spinor=True,
    tracegrad=TraceGradConfig(hidden=4, invariants=3),
)
N_ELECTRONS = 60  # four Bi of 15


@pytest.fixture(scope="module")
def samples(shared_data):
    """The primitive cell, which is symmetric, and a displaced one, with OpenMX's orbitals."""
    basis = read_basis({"Bi": shared_data / "openmx" / "pao" / "Bi8.0.pao"}, {"Bi": "s3p2d2"})
    found = [read(shared_data / "openmx" / "BB" / name) for name in ("prim", "x1_000")]
    assert all(not s.hamiltonian.shifts[:, 2].any() for s in found)
    return [replace(s, basis=basis, structure=replace(s.structure, pbc=[True, True, False])) for s in found]


@pytest.fixture(scope="module")
def predictor(samples):
    """Random weights behind small heads, standardised on both structures, float64."""
    torch.manual_seed(0)
    network = HamiltonianNetwork(NETWORK, samples[0].basis, [83]).double()
    graphs = [label_graph(str(k), s, network, torch.float64) for k, s in enumerate(samples)]
    fit_standardization(network, graphs)
    with torch.no_grad():
        for p in (*network.offsite_head.parameters(), *network.onsite_head.parameters()):
            p.mul_(0.05)
    card = ModelCard("BB", "statistics only", [83], "Bi8.0-s3p2d2", "OpenMX", "PBE", NETWORK.cutoff)
    predictor = Predictor(network, samples[0].basis, card)
    errors = [hamiltonian_error(h, s) for h, s in zip(predictor.predict([s.structure for s in samples]), samples, strict=True)]
    domain = describe_domain((g.graph for g in graphs), [83], NETWORK.cutoff)
    predictor.card = replace(card, domain=domain, errors={"both": {"mae_all": max(e.all for e in errors)}})
    return predictor


def test_the_labels_have_the_form_that_is_built_in(samples):
    """OpenMX's blocks and the nearest ones with time reversal differ by the noise of its integration, 4e-7 eV."""
    for sample in samples:
        assert time_reversal_residual(sample.hamiltonian) < 1e-6
        assert np.abs(sample.hamiltonian.values.imag).max() > 1.0  # spin-orbit coupling of Bi 6p
        network = HamiltonianNetwork(NETWORK, sample.basis, [83])
        graph = label_graph("label", sample, network, torch.float64)
        prediction = Prediction(graph.offsite, graph.onsite)
        (again,) = to_block_matrices([graph.graph], graph.batch, prediction, sample.basis, network.shells)
        assert again.index.keys() == sample.hamiltonian.index.keys()  # a cut-off of 8.5 A holds all of OpenMX's pairs
        assert np.abs(again.values - sample.hamiltonian.restricted_to(again).values).max() < 5e-7


def test_gap_of_the_label(samples, shared_data):
    """One electron per state: band 60 and the next, as OpenMX printed them along its path."""
    reference = np.load(shared_data / "openmx" / "BB" / "prim" / "bands.npz")
    structure = ElectronicStructure(samples[0])
    assert (structure.n_electrons, structure.spin_degeneracy) == (N_ELECTRONS, 1)
    gap = structure.find_band_gap(make_list(reference["kpts"][::4]))
    energies = reference["energies"][::4]
    assert gap.vbm == pytest.approx(energies[:, N_ELECTRONS - 1].max(), abs=1e-6)
    assert gap.cbm == pytest.approx(energies[:, N_ELECTRONS].min(), abs=1e-6)


def test_statistics_alone_are_close(predictor):
    """H without its two-centre part and the mean of its on-site blocks is small: elements of the label reach 40 eV."""
    assert predictor.card.errors["both"]["mae_all"] < 40


@pytest.fixture(scope="module")
def atoms(samples, predictor):
    s = samples[0].structure
    atoms = Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.pbc)
    atoms.calc = TraceGradCalculator(predictor, kpts=(2, 2, 1), fermi_kpts=(2, 2, 1))
    return atoms


def test_bands_are_kramers_pairs(atoms):
    """The bilayer has an inversion centre, so bands are pairs at every k, not only where k = -k."""
    bands = atoms.calc.band_structure("GM", npoints=3, progress=False)
    energies = bands.energies[0]
    assert energies.shape[1] <= 2 * 4 * 19
    assert np.abs(energies[:, ::2] - energies[:, 1::2]).max() < 1e-6
    assert bands.reference == atoms.calc.get_fermi_level()


def test_electrons_gap_and_density_of_states(atoms):
    calc = atoms.calc
    weights = np.array(calc.get_k_point_weights())
    occupations = np.array([calc.get_occupation_numbers(k) for k in range(len(weights))])
    assert occupations.max() == 1
    assert (weights[:, None] * occupations).sum() == pytest.approx(N_ELECTRONS, abs=1e-9)
    gap = calc.band_gap(kpts=(2, 2, 1), refine=False, progress=False)
    assert gap.n_filled == N_ELECTRONS
    level = calc.get_fermi_level()
    energies = np.array([calc.get_eigenvalues(k) for k in range(len(weights))])
    grid = np.linspace(-8.0, 8.0, 1601)
    dos = calc.dos(grid, width=0.05, progress=False)
    inside = ndtr((8.0 - energies + level) / 0.05) - ndtr((-8.0 - energies + level) / 0.05)
    assert np.trapezoid(dos.get_weights(), grid) == pytest.approx((weights[:, None] * inside).sum(), abs=1e-2)


def test_symmetry_report(atoms, samples):
    """A prediction has the symmetry of the structure as far as the atoms have it; Kramers' theorem exactly."""
    report = atoms.calc.symmetry_report(tolerance=1e-3)
    assert len(report.group) == 12
    assert report.time_reversal < 1e-12
    assert report.hermiticity < 1e-12
    assert report.hamiltonian.max() < 1e-4
    assert all(n % 2 == 0 for degeneracies in report.degeneracies for n in degeneracies)
    assert report.splitting.max() < 1e-3
    assert "time reversal" in str(report)


def test_checkpoint_round_trip(predictor, samples, tmp_path):
    """The file says that blocks are spinors and carries the orbitals: no OpenMX is needed for a prediction."""
    path = tmp_path / "bb.safetensors"
    save_checkpoint(path, predictor.network, predictor.basis, predictor.card)
    loaded = load_model(path, device="cpu", dtype="float64")
    assert loaded.network.config.spinor
    before, after = (p.predict([samples[1].structure])[0] for p in (predictor, loaded))
    assert after.spin == "spinor"
    assert 0 < np.abs(before.values - after.values).max() < 1e-4  # weights are stored in single precision
    calc = TraceGradCalculator(path, device="cpu", kpts=(1, 1, 1), fermi_kpts=(1, 1, 1))
    s = samples[1].structure
    sample = calc.sample(Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.pbc))
    assert np.abs(sample.overlap.restricted_to(samples[1].overlap).values - samples[1].overlap.values).max() < 1e-6
