import logging

import numpy as np
import pytest
from ase.build import bulk

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.irreducible import reduce_mesh
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import (
    covariance_residuals,
    find_symmetry,
    reverse_time,
    symmetrize,
    time_reversal_residual,
)
from ase_tracegrad.structure import Structure
from tests.electronic.lattice_models import random_on_structure

SHELLS = {6: (0, 1, 2), 14: (0, 1), 31: (0, 1), 33: (0, 0, 1)}


def structures(graphene):
    silicon, arsenide = bulk("Si"), bulk("GaAs", "zincblende", a=5.65)
    return {"graphene": graphene, "Si": Structure.from_atoms(silicon), "GaAs": Structure.from_atoms(arsenide)}


@pytest.fixture(params=["graphene", "Si", "GaAs"])
def structure(request, graphene_structure):
    return structures(graphene_structure)[request.param]


@pytest.mark.parametrize("spinor", [False, True])
def test_symmetrized_matrices_are_invariant(structure, spinor):
    """In every group: residuals vanish, the projection is idempotent, and E(Wk) = E(k) at a generic k."""
    h, s = random_on_structure(structure, SHELLS, spinor=spinor)
    group = find_space_group(structure)
    assert covariance_residuals(h, group).max() > 0.1
    h, s = symmetrize(h, group), symmetrize(s, group)
    assert covariance_residuals(h, group).max() < 1e-12
    assert h.is_hermitian(1e-12)
    assert np.abs(symmetrize(h, group).values - h.values).max() < 1e-12
    kpts = group.reciprocal_rotations @ np.array([0.13, 0.27, 0.41])
    energies = compute_bands(h, s, kpts)
    assert np.ptp(energies, axis=0).max() < 1e-10


def test_symmetrize_keeps_the_invariant_part(graphene_structure):
    """<P M, N> = <M, N> for invariant N: the projection is orthogonal."""
    group = find_space_group(graphene_structure)
    h, _ = random_on_structure(graphene_structure, SHELLS)
    invariant = symmetrize(random_on_structure(graphene_structure, SHELLS, seed=5)[0], group)
    assert symmetrize(h, group).inner(invariant) == pytest.approx(h.inner(invariant))


def test_missing_images_are_added(graphene_structure):
    h, _ = random_on_structure(graphene_structure, SHELLS)
    group = find_space_group(graphene_structure)
    bond = int(np.nonzero(h.pairs[:, 0] != h.pairs[:, 1])[0][0])
    partner = int(h.reverse[bond])
    keep = (h.pairs[:, 0] == h.pairs[:, 1]) & (h.shifts == 0).all(axis=1)
    keep[[bond, partner]] = True
    cut = h.cut(keep)
    full = symmetrize(cut, group)
    assert len(cut) == 4
    assert len(full) == 8
    assert covariance_residuals(full, group).max() < 1e-12


def test_report(graphene_structure):
    h, s = random_on_structure(graphene_structure, SHELLS)
    group = find_space_group(graphene_structure)
    noise = h
    h, s = symmetrize(h, group), symmetrize(s, group)
    clean = find_symmetry(BlochSum(h, s), graphene_structure, kpts=[[0, 0, 0], [1 / 3, 1 / 3, 0]])
    assert clean.splitting.max() < 1e-10
    assert [sum(levels) for levels in clean.degeneracies] == [18, 18]
    assert all(2 in levels for levels in clean.degeneracies)
    assert clean.hamiltonian.max() < 1e-12
    broken = find_symmetry(BlochSum(h + 1e-3 * noise, s), graphene_structure)
    assert broken.splitting.max() > 1e-5
    assert broken.hamiltonian.max() > 1e-4
    assert "p6/mmm: 24 operations" in str(broken)
    assert "time reversal" in str(broken)


def test_a_structure_of_other_atoms_is_refused(graphene_structure):
    h, s = random_on_structure(graphene_structure, SHELLS)
    with pytest.raises(ValueError, match="has 4 atoms, the Hamiltonian 2"):
        find_symmetry(BlochSum(h, s), Structure.from_atoms(bulk("Al", cubic=True)))


def test_time_reversal_of_spinors(graphene_structure):
    h, _ = random_on_structure(graphene_structure, SHELLS, spinor=True)
    assert time_reversal_residual(h) > 0.1
    real, _ = random_on_structure(graphene_structure, SHELLS)
    blocks = {key: np.kron(np.eye(2), block).astype(complex) for key, block in real.items()}
    assert time_reversal_residual(type(h).from_blocks(h.layout, blocks, "spinor")) == 0.0
    assert time_reversal_residual(real) == 0.0


def test_time_reversal_is_an_antiunitary_symmetry(graphene_structure, kpts):
    """Theta H Theta^-1 has the energies of -k; twice it is H again; the mean of both has Kramers pairs."""
    h, s = random_on_structure(graphene_structure, SHELLS, spinor=True)
    reversed_h = reverse_time(h)
    assert np.abs(compute_bands(reversed_h, s, kpts) - compute_bands(h, s, -kpts)).max() < 1e-10
    assert np.abs(reverse_time(reversed_h).values - h.values).max() == 0.0
    bands = compute_bands(0.5 * (h + reversed_h), s, [[0, 0, 0], [0.5, 0, 0]])
    assert np.abs(bands[:, ::2] - bands[:, 1::2]).max() < 1e-10


@pytest.mark.parametrize(("spinor", "expected"), [(False, {3: 2, 1: 2}), (True, {4: 2, 2: 4})])
def test_degeneracies_of_silicon_at_gamma(spinor, expected):
    """s and p of two atoms: two Gamma1-like and two threefold levels; spin-orbit coupling makes of these 4 + 2."""
    structure = structures(None)["Si"]
    group = find_space_group(structure)
    h, s = random_on_structure(structure, SHELLS, spinor=spinor)
    h, s = symmetrize(h, group), symmetrize(s, group)
    h = 0.5 * (h + reverse_time(h))
    report = find_symmetry(BlochSum(h, s), structure)
    counts = {n: report.degeneracies[0].count(n) for n in set(report.degeneracies[0])}
    assert counts == expected
    assert report.splitting[0] < 1e-9


def test_a_field_splits_kramers_pairs(graphene_structure):
    """An exchange field is an error of H in a crystal without magnetism, and none in a magnetic one."""
    h, s = random_on_structure(graphene_structure, SHELLS, spinor=True)
    group = find_space_group(graphene_structure)
    h, s = symmetrize(h, group), symmetrize(s, group)
    h = 0.5 * (h + reverse_time(h))
    field = {key: np.kron(np.diag([1e-3, -1e-3]), block).astype(complex) for key, block in s.items()}
    magnetic = h + BlockMatrix.from_blocks(h.layout, field, "spinor")
    kpts = [[0, 0, 0], [0.5, 0, 0]]
    assert find_symmetry(BlochSum(h, s), graphene_structure, kpts=kpts).splitting.max() < 1e-9
    report = find_symmetry(BlochSum(magnetic, s), graphene_structure, kpts=kpts)
    assert report.splitting.min() > 1e-4
    assert report.time_reversal == pytest.approx(2e-3, rel=0.1)
    assert all(n % 2 == 0 for levels in report.degeneracies for n in levels)
    along_z = np.tile([0, 0, 1.0], (2, 1))
    kept = find_symmetry(BlochSum(magnetic, s), graphene_structure, kpts=kpts, moments=along_z)
    assert len(kept.group) == 12
    assert 1 in kept.degeneracies[0]
    assert max(kept.splitting.max(), kept.hamiltonian.max()) < 1e-9
    opposite = find_symmetry(BlochSum(h, s), graphene_structure, kpts=kpts, moments=along_z * [[1], [-1]])
    assert all(n % 2 == 0 for levels in opposite.degeneracies for n in levels), "inversion with time reversal keeps pairs"
    with pytest.raises(ValueError, match="moments of shape"):
        find_symmetry(BlochSum(h, s), graphene_structure, moments=[0, 0, 1])


@pytest.mark.parametrize("size", [(6, 6, 1), (5, 5, 1)])
def test_irreducible_mesh_equals_the_full_one(graphene_structure, size):
    h, s = random_on_structure(graphene_structure, SHELLS)
    group = find_space_group(graphene_structure)
    h, s = symmetrize(h, group), symmetrize(s, group)
    full = make_mesh(size, gamma=True, time_reversal=False)
    mesh = reduce_mesh(full, BlochSum(h, s), graphene_structure)
    assert len(mesh) <= len(full) / 5
    assert np.abs(mesh.unfold(compute_bands(h, s, mesh.kpts)) - full.unfold(compute_bands(h, s, full.kpts))).max() < 1e-9


def test_without_time_reversal_k_and_minus_k_stay(graphene_structure):
    h, s = random_on_structure(graphene_structure, SHELLS, spinor=True)
    full = make_mesh((4, 4, 1), gamma=True, time_reversal=False)
    assert len(reduce_mesh(full, BlochSum(h, s), graphene_structure)) == len(full)


def test_a_hamiltonian_without_the_symmetry_keeps_the_mesh(graphene_structure, caplog):
    h, s = random_on_structure(graphene_structure, SHELLS)
    full = make_mesh((4, 4, 1), gamma=True, time_reversal=False)
    with caplog.at_level(logging.INFO):
        mesh = reduce_mesh(full, BlochSum(h, s), graphene_structure)
    assert len(mesh) == len(make_mesh((4, 4, 1), gamma=True))
    assert "not reduced by rotations" in caplog.text
