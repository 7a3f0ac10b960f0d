"""Labels of molecules: a real PySCF run of water, and what is refused before PySCF starts."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.linalg import eigh

from ase_tracegrad.basis_json import basis_to_json
from ase_tracegrad.io.def2_svp import def2_svp_basis
from ase_tracegrad.io.qh9 import QH9Reader, pyscf_matrix
from ase_tracegrad.io.qh9_writer import QH9Writer
from ase_tracegrad.labels.errors import LabelError, ScfNotConvergedError
from ase_tracegrad.labels.pyscf import OpenShellError, PyscfNotFoundError, PyscfSettings, compute_molecule_labels
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.units import HARTREE


@pytest.fixture(scope="module")
def water():
    pytest.importorskip("pyscf")
    return compute_molecule_labels(molecule("H2O"))


def test_water(water):
    """The total energy is that of B3LYP / def2-SVP; which VWN it is, the settings say."""
    info = water.info
    assert info["total_energy"] / HARTREE == pytest.approx(-76.321, abs=0.004)
    assert (info["n_electrons"], info["charge"], info["settings"]["xc"]) == (10.0, 0, "b3lyp5")
    assert info["homo"] < info["fermi_level"] < info["lumo"]
    assert len(water.hamiltonian) == len(water.overlap) == 9
    assert water.hamiltonian.is_hermitian(1e-9)


def test_orbital_energies_follow_from_the_matrices(water):
    h, s = (matrix.bloch([0, 0, 0])[0].real for matrix in (water.hamiltonian, water.overlap))
    energies = eigh(h, s, eigvals_only=True)
    assert np.abs(energies - water.info["orbital_energies"]).max() / HARTREE < 1e-9
    assert energies[4] == pytest.approx(water.info["homo"], abs=1e-8)


def test_overlap_and_basis_are_those_of_the_package(water):
    ours = compute_overlap(water.structure, water.basis)
    assert np.abs((ours - water.overlap).values).max() < 1e-8
    known = basis_to_json(def2_svp_basis())["atoms"]
    assert all(known[number] == entry for number, entry in basis_to_json(water.basis)["atoms"].items())


def test_through_a_qh9_database(water, tmp_path):
    with QH9Writer(tmp_path / "water.db") as database:
        database.add(0, water)
    with QH9Reader(tmp_path / "water.db") as reader:
        sample = reader["000000"]
    assert basis_to_json(sample.basis)["name"] == basis_to_json(water.basis)["name"]
    assert np.abs(pyscf_matrix(sample.hamiltonian) - pyscf_matrix(water.hamiltonian)).max() < 1e-12
    h, s = (matrix.bloch([0, 0, 0])[0].real for matrix in (sample.hamiltonian, sample.overlap))
    assert np.abs(eigh(h, s, eigvals_only=True) - water.info["orbital_energies"]).max() / HARTREE < 1e-8


def test_an_ion_is_labelled(tmp_path):
    pytest.importorskip("pyscf")
    hydride = compute_molecule_labels(Atoms("H"), charge=-1, settings=PyscfSettings(grid_level=0))
    assert hydride.info["n_electrons"] == 2.0
    with pytest.raises(ValueError, match="charge -1"), QH9Writer(tmp_path / "ion.db") as database:
        database.add(0, hydride)


@pytest.mark.parametrize(
    ("atoms", "charge", "message"),
    [
        (molecule("CH3"), 0, "9 electrons, an odd number: radicals"),
        (molecule("H2O"), 1, "9 electrons, an odd number"),
        (molecule("O2"), 0, "magnetic moments"),
        (Atoms("C"), 0, "the atom C has an open shell"),
    ],
)
def test_open_shells_are_refused(atoms, charge, message):
    with pytest.raises(OpenShellError, match=message):
        compute_molecule_labels(atoms, charge)


def test_what_else_is_refused(monkeypatch):
    pytest.importorskip("pyscf")
    with pytest.raises(LabelError, match="0 electrons"):
        compute_molecule_labels(Atoms("H"), 1)
    with pytest.raises(LabelError, match=r"H2 is periodic.*atoms\.pbc = False"):
        compute_molecule_labels(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]], cell=[5] * 3, pbc=True))
    with pytest.warns(UserWarning, match="basis-set-exchange"), pytest.raises(LabelError, match="no basis nonsense for H"):
        compute_molecule_labels(molecule("H2"), settings=PyscfSettings(basis="nonsense"))
    with pytest.raises(LabelError, match="I2 has elements beyond Kr"):
        compute_molecule_labels(Atoms("I2", positions=[[0, 0, 0], [0, 0, 2.7]]))
    monkeypatch.setitem(sys.modules, "pyscf", None)
    with pytest.raises(PyscfNotFoundError, match=r"pip install 'ase_tracegrad\[molecules\]'"):
        compute_molecule_labels(molecule("H2"))


def test_too_few_steps():
    pytest.importorskip("pyscf")
    with pytest.raises(ScfNotConvergedError, match="H2 did not converge in 1 steps"):
        compute_molecule_labels(molecule("H2"), settings=PyscfSettings(max_cycle=1, grid_level=0))
