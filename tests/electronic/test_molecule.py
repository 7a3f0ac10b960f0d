"""Levels, charges and dipole of molecules against PySCF, from the Hamiltonian of its own SCF."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.units import Debye

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.closed_shell import OpenShellError
from ase_tracegrad.electronic.kmesh import make_list
from ase_tracegrad.electronic.molecule import solve_levels
from ase_tracegrad.electronic.occupations import ElectronCountError
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io.def2_svp import PYSCF_BOHR
from ase_tracegrad.io.qh9 import pyscf_matrix
from ase_tracegrad.labels.pyscf import PyscfSettings, build_molecule, compute_molecule_labels
from ase_tracegrad.units import HARTREE
from tests.nn.test_network import rotations_of_space, turn_matrix

pytestmark = pytest.mark.filterwarnings("ignore:Since PySCF-2.3")
# The grid decides the energies, not how they follow from the matrices.
COARSE = PyscfSettings(grid_level=0, conv_tol=1e-7)
CASES = {
    "water": (molecule("H2O"), 0),
    "formaldehyde": (molecule("H2CO"), 0),
    "hydrogen": (molecule("H2"), 0),
    "hydroxide": (molecule("OH", magmoms=[0, 0]), -1),
    "ammonium": (Atoms("NH4", [[0, 0, 0], *(0.59 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]))]), 1),
    "fluoride": (Atoms("F"), -1),
}
GAMMA = make_list([[0.0, 0.0, 0.0]])


class Case:
    """A label, and PySCF's mean field with the orbitals of the same Fock matrix."""

    def __init__(self, name: str):
        atoms, charge = CASES[name]
        from pyscf import dft

        self.charge = charge
        self.sample = compute_molecule_labels(atoms, charge, COARSE)
        self.structure = ElectronicStructure(self.sample)
        self.field = dft.RKS(build_molecule(atoms, charge, COARSE.basis), xc=COARSE.xc)
        self.overlap = self.field.get_ovlp()
        energies, coefficients = self.field.eig(pyscf_matrix(self.sample.hamiltonian) / HARTREE, self.overlap)
        self.field.mo_energy, self.field.mo_coeff = energies, coefficients
        self.field.mo_occ = self.field.get_occ(energies, coefficients)
        self.density = self.field.make_rdm1()


@pytest.fixture(scope="module", params=CASES)
def case(request) -> Case:
    pytest.importorskip("pyscf")
    return Case(request.param)


@pytest.fixture(scope="module")
def water() -> Case:
    pytest.importorskip("pyscf")
    return Case("water")


def test_orbital_energies_and_occupations(case):
    levels = case.structure.find_levels()
    assert np.abs(levels.energies / HARTREE - case.field.mo_energy).max() < 1e-8
    assert np.array_equal(levels.occupations, case.field.mo_occ)
    for name in ("homo", "lumo", "fermi_level"):
        assert getattr(levels, name) == pytest.approx(case.sample.info[name], abs=1e-7)
    assert levels.gap == pytest.approx(case.structure.find_band_gap(GAMMA).gap, abs=1e-9)


def test_density_matrix(case):
    """Holds the electrons, is a projector, and is PySCF's."""
    levels = case.structure.find_levels()
    s = case.sample.overlap.bloch([0, 0, 0])[0].real
    p = levels.density_matrix
    assert np.trace(p @ s) == pytest.approx(case.sample.info["n_electrons"], abs=1e-9)
    assert np.abs(p @ s @ p - 2 * p).max() < 1e-9
    blocks = BlockMatrix.from_dense(case.sample.overlap.layout, [[0, 0, 0]], p[None], threshold=-1)
    assert np.abs(pyscf_matrix(blocks) - case.density).max() < 1e-8


def test_charges(case):
    _, mulliken = case.field.mulliken_pop(dm=case.density, s=case.overlap, verbose=0)
    values, modes = np.linalg.eigh(case.overlap)
    root = (modes * np.sqrt(values)) @ modes.T
    populations = np.diag(root @ case.density @ root)
    slices = case.field.mol.aoslice_by_atom()
    loewdin = case.field.mol.atom_charges() - [populations[first:last].sum() for _, _, first, last in slices]
    for method, expected in (("mulliken", mulliken), ("loewdin", loewdin)):
        charges = case.structure.compute_populations(GAMMA, method=method).charges
        assert np.abs(charges - expected).max() < 1e-6
        assert charges.sum() == pytest.approx(case.charge, abs=1e-9)


def test_dipole(case):
    """In Debye, of the ions too: both about the origin."""
    expected = case.field.dip_moment(dm=case.density, unit="AU", verbose=0) * PYSCF_BOHR
    assert np.abs(case.structure.compute_dipole() - expected).max() / Debye < 1e-5


def test_a_shift_changes_the_dipole_of_ions_only(case):
    shift = np.array([3.0, -1.0, 7.0])
    structure = replace(case.sample.structure, positions=case.sample.structure.positions + shift)
    moved = ElectronicStructure(replace(case.sample, structure=structure))
    assert np.abs(moved.compute_dipole() - case.structure.compute_dipole() - case.charge * shift).max() < 1e-7


@pytest.mark.parametrize("rotation", rotations_of_space(1))
def test_the_dipole_turns_with_the_molecule(water, rotation):
    structure = replace(water.sample.structure, positions=water.sample.structure.positions @ rotation.T)
    matrices = {name: turn_matrix(getattr(water.sample, name), rotation) for name in ("hamiltonian", "overlap")}
    turned = ElectronicStructure(replace(water.sample, structure=structure, **matrices))
    dipole = water.structure.compute_dipole()
    assert np.linalg.norm(dipole) > 0.3
    assert np.abs(turned.compute_dipole() - rotation @ dipole).max() < 1e-8


def test_table(water):
    text = str(water.structure.find_levels())
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines if "MO" in line] == [["5", "HOMO"], ["6", "LUMO"]]
    assert len(lines) == 12
    assert lines[-1].startswith("gap ")


def test_what_has_no_closed_shell(water):
    def with_electrons(n: float) -> ElectronicStructure:
        return ElectronicStructure(replace(water.sample, info=water.sample.info | {"n_electrons": n}))

    for n, error, message in (
        (9.0, OpenShellError, "9 electrons leave a level partly filled"),
        (9.5, OpenShellError, "9.5 electrons"),
        (48.0, ValueError, "all 24 levels are filled"),
        (50.0, ElectronCountError, "do not fit"),
        (0.0, ElectronCountError, "positive number"),
    ):
        with pytest.raises(error, match=message):
            with_electrons(n).find_levels()
    flat = replace(water.sample.hamiltonian, values=-3.0 * water.sample.overlap.values)
    with pytest.raises(OpenShellError, match="eV apart"):
        ElectronicStructure(replace(water.sample, hamiltonian=flat)).find_levels()
    box = replace(water.sample.structure, cell=8 * np.eye(3), pbc=[True] * 3)
    for ask in (ElectronicStructure.find_levels, ElectronicStructure.compute_dipole):
        with pytest.raises(ValueError, match=r"levels are those of a molecule.*atoms\.pbc = False"):
            ask(ElectronicStructure(replace(water.sample, structure=box)))


def test_spinors_give_the_same(water):
    """H x 1 and one electron per level: every quantity as without spin."""
    spinor = ElectronicStructure(replace(water.sample, hamiltonian=water.sample.hamiltonian.with_spin("spinor")))
    levels, plain = spinor.find_levels(), water.structure.find_levels()
    assert levels.n_filled == 2 * plain.n_filled
    assert (levels.homo, levels.lumo) == pytest.approx((plain.homo, plain.lumo), abs=1e-9)
    assert np.abs(spinor.compute_dipole() - water.structure.compute_dipole()).max() < 1e-9


def test_levels_do_not_depend_on_the_solver(water):
    sums = water.structure.sums()
    levels = solve_levels(sums, 10.0)
    h, s = (matrix.bloch([0, 0, 0])[0].real for matrix in (water.sample.hamiltonian, water.sample.overlap))
    residual = h @ levels.coefficients - s @ levels.coefficients * levels.energies
    assert np.abs(residual).max() < 1e-9
    assert not np.iscomplexobj(levels.coefficients)
