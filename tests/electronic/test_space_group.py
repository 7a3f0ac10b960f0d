import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule, mx2

from ase_tracegrad.electronic.space_group import find_space_group, spin_rotation
from ase_tracegrad.structure import Structure

PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


@pytest.mark.parametrize(
    ("atoms", "name", "order"),
    [
        (bulk("Si"), "Fd-3m", 48),
        (bulk("GaAs", "zincblende", a=5.65), "F-43m", 24),
        (bulk("Na", "bcc", a=4.2, cubic=True), "Im-3m", 96),
        (mx2("MoS2", vacuum=7.0), "p-6m2", 12),
        (molecule("CH4"), "-43m", 24),
    ],
)
def test_known_groups(atoms, name, order):
    group = find_space_group(Structure.from_atoms(atoms))
    assert group.name == name
    assert len(group) == order


def test_operations_map_the_structure_onto_itself(graphene_structure):
    structure = graphene_structure
    group = find_space_group(structure)
    assert group.name == "p6/mmm"
    assert len(group) == 24
    centre = structure.positions.mean(axis=0)
    fractional = structure.positions @ np.linalg.inv(group.cell)
    for g in range(len(group)):
        q = group.cartesian[g]
        assert np.abs(q @ q.T - np.eye(3)).max() < 1e-12
        moved = fractional @ group.rotations[g].T + group.translations[g]
        assert np.abs(moved - fractional[group.images[g]] - group.cells[g]).max() < 1e-6
        vector = structure.positions[0] - centre
        assert abs(np.linalg.norm(q @ vector) - np.linalg.norm(vector)) < 1e-12


def test_vacuum_axes_are_not_mixed():
    """A chain in a cubic box looks cubic to a search in three dimensions."""
    chain = Structure([6], [[5.0, 5.0, 5.0]], 10.0 * np.eye(3), [True, False, False])
    group = find_space_group(chain)
    assert len(group) == 16
    assert not group.rotations[:, 0, 1:].any()
    assert not group.rotations[:, 1:, 0].any()


def test_a_molecule_across_the_boundary_of_its_box():
    """Symmetric only if the box is repeated, which a molecule is not."""
    heights = np.array([3.0, 4.0, 5.0])
    positions = np.array([[4.0, 4.0, z] for z in heights])
    inside = find_space_group(Structure([8, 6, 8], positions, 8 * np.eye(3), [False] * 3))
    across = find_space_group(Structure([8, 6, 8], (positions + np.array([0, 0, 4])) % 8, 8 * np.eye(3), [False] * 3))
    assert (len(inside), len(across)) == (16, 8)


def test_a_molecule_without_a_cell():
    group = find_space_group(Structure.from_atoms(Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])))
    assert len(group) >= 4


def test_a_molecule_is_not_folded_into_a_box_smaller_than_itself():
    """Atoms 1 Angstrom apart fell on each other where no cell was given, whose vectors are taken as 1 Angstrom."""
    group = find_space_group(Structure.from_atoms(Atoms("N2", [[0, 0, 0], [0, 0, 1.0]])))
    assert len(group) == 16


def test_the_vacuum_does_not_break_the_symmetry(graphene_structure):
    for vector in ([1.5, 0.7, 12.0], [0.0, 0.0, 2.46], [0.0, 0.0, -20.0], [0.0, 0.0, 0.0]):
        cell = np.array([*graphene_structure.cell[:2], vector])
        group = find_space_group(Structure([6, 6], graphene_structure.positions, cell, [True, True, False]))
        assert (group.name, len(group)) == ("p6/mmm", 24)
    square = Structure.from_atoms(Atoms("C2", [[0, 0, 0], [1.2, 0, 0]], cell=[2.6, 8.0, 11.0], pbc=[True, False, False]))
    assert len(find_space_group(square)) == 16


def test_spins_turn_like_vectors():
    rng = np.random.default_rng(0)
    for _ in range(5):
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        u = spin_rotation(q)
        proper = q * np.sign(np.linalg.det(q))
        assert np.abs(u.conj().T @ u - np.eye(2)).max() < 1e-12
        for axis in range(3):
            turned = u @ PAULI[axis] @ u.conj().T
            assert np.abs(turned - np.einsum("a,aij->ij", proper[:, axis], PAULI)).max() < 1e-12


def test_generators(graphene_structure):
    group = find_space_group(graphene_structure)
    chosen = group.rotations[group.find_generators()]
    assert len(chosen) <= 4
    products = {tuple(np.eye(3, dtype=int).ravel())}
    for _ in range(24):
        products |= {tuple((g @ np.reshape(w, (3, 3))).ravel()) for w in products for g in chosen}
    assert products == {tuple(w.ravel()) for w in group.rotations}


def test_two_atoms_at_one_place():
    with pytest.raises(ValueError, match="one place"):
        find_space_group(Structure([6, 6], np.zeros((2, 3)), 4 * np.eye(3), [True] * 3))
