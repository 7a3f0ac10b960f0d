"""Integrals of the position against PySCF's, and what symmetry demands of them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, Shell, TabulatedRadial
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.dipole import compute_dipole_integrals
from ase_tracegrad.io.def2_svp import PYSCF_BOHR, def2_svp_basis
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.radial_integrals import RadialMoment
from ase_tracegrad.structure import Structure
from ase_tracegrad.units import BOHR
from tests.test_overlap import in_our_order, make_basis, pyscf_molecule


def dense(atoms: Atoms, basis: Basis) -> np.ndarray:
    """(3, n, n) Angstrom."""
    structure = Structure.from_atoms(atoms)
    found = compute_dipole_integrals(structure, basis, compute_overlap(structure, basis))
    return np.stack([matrix.bloch([0, 0, 0])[0].real for matrix in found])


@pytest.fixture(scope="module")
def basis() -> Basis:
    """Made-up Gaussians, s to f."""
    return make_basis()


@pytest.fixture(scope="module")
def ethene() -> Atoms:
    atoms = molecule("C2H4")
    atoms.rattle(0.1, seed=4)
    return atoms


def test_def2_svp_against_pyscf():
    gto = pytest.importorskip("pyscf.gto")
    atoms = molecule("CH3CONH2")
    theirs = gto.M(atom=list(zip(atoms.symbols, atoms.positions, strict=True)), basis="def2-svp", verbose=0)
    basis = def2_svp_basis()
    layout = basis.layout(atoms.numbers)
    expected = [PYSCF_BOHR * in_our_order(matrix, layout) for matrix in theirs.intor("int1e_r_sph")]
    assert np.abs(dense(atoms, basis) - expected).max() < 1e-7


def test_shells_up_to_f_against_pyscf(basis, ethene):
    layout = basis.layout(ethene.numbers)
    expected = [BOHR * in_our_order(matrix, layout) for matrix in pyscf_molecule(ethene, basis).intor("int1e_r_sph")]
    assert np.abs(dense(ethene, basis) - expected).max() < 1e-7


def test_each_pair_equals_its_reverse(basis, ethene):
    """One is an integral with r times the second orbital, the other with r times the first."""
    found = dense(ethene, basis)
    assert np.abs(found).max() > 1
    assert np.abs(found - found.swapaxes(1, 2)).max() < 1e-8


def test_a_shift_adds_the_overlap(basis, ethene):
    before = dense(ethene, basis)
    shift = np.array([1.3, -20.0, 5.0])
    ethene = ethene.copy()
    ethene.positions += shift
    overlap = compute_overlap(ethene, basis).bloch([0, 0, 0])[0].real
    assert np.abs(dense(ethene, basis) - before - shift[:, None, None] * overlap).max() < 1e-8


def test_tabulated_orbitals(basis, ethene):
    """Also where only one of the two elements is tabulated."""

    def tabulate(atom: AtomicBasis) -> AtomicBasis:
        r = np.linspace(0, atom.reach, 1500)
        return AtomicBasis(
            atom.number, atom.angular_momenta, tuple(Shell(s.l, TabulatedRadial(s.l, r, s.radial(r))) for s in atom.shells)
        )

    for elements in ((1,), (1, 6)):
        twin = Basis({z: tabulate(atom) if z in elements else atom for z, atom in basis.atoms.items()})
        assert np.abs(dense(ethene, twin) - dense(ethene, basis)).max() < 1e-7


def test_what_has_no_position(basis):
    crystal = Structure.from_atoms(bulk("C"))
    with pytest.raises(ValueError, match=r"no matrix elements in a periodic structure.*True"):
        compute_dipole_integrals(crystal, basis, compute_overlap(crystal, basis))
    lone, shells = Structure.from_atoms(Atoms("C")), Basis({6: AtomicBasis(6, (0, 1))})
    layout = shells.layout([6])
    with pytest.raises(ValueError, match="radial functions of element 6"):
        compute_dipole_integrals(lone, shells, BlockMatrix(layout, [[0, 0]], [[0, 0, 0]], np.eye(4).ravel()))
    with pytest.raises(ValueError, match="not of 2"):
        RadialMoment(2, GaussianRadial(0, np.ones(1), np.ones(1)))
