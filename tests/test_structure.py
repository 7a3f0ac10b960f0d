import numpy as np
import pytest
from ase.build import bulk, molecule

from ase_tracegrad.structure import Structure, StructureError

CELL = np.eye(3) * 4


def test_from_ase_and_back_are_the_same_numbers():
    atoms = bulk("Si")
    structure = Structure.from_atoms(atoms)
    assert len(structure) == 2
    assert np.array_equal(structure.numbers, [14, 14])
    assert np.array_equal(structure.positions, atoms.positions)
    assert np.array_equal(structure.cell, atoms.cell.array)
    assert structure.pbc.tolist() == [True] * 3


def test_changing_the_atoms_afterwards_does_not_change_the_structure():
    atoms = bulk("Si")
    structure = Structure.from_atoms(atoms)
    atoms.positions += 1
    assert np.array_equal(structure.positions[0], [0, 0, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], np.zeros((0, 3)), CELL, [True] * 3), "no atoms"),
        (([6], np.zeros((2, 3)), CELL, [True] * 3), r"expected positions \(1, 3\)"),
        (([6], np.zeros((1, 3)), np.eye(2), [True] * 3), "cell"),
        (([6, 6], [[0, 0, 0], [0, np.nan, 0]], CELL, [True] * 3), "atom 1 is not finite"),
        (([6], np.zeros((1, 3)), np.diag([4, np.inf, 4]), [True] * 3), "cell is not finite"),
        (([6], np.zeros((1, 3)), np.diag([4, 4, 0]), [True] * 3), "along axis 2"),
        (([6], np.zeros((1, 3)), np.ones((3, 3)), [True, True, False]), "linearly dependent"),
    ],
)
def test_impossible_structures_are_refused(arguments, message):
    with pytest.raises(StructureError, match=message):
        Structure(*arguments)


@pytest.mark.parametrize(
    "cell",
    [
        np.zeros((3, 3)),
        np.diag([3.0, 0, 0]),
        np.array([[3.0, 0, 0], [1, 2, 0], [0, 0, 0]]),
        np.array([[0, 0, 0], [0, 0, 2.0], [1, 1, 0]]),
    ],
)
def test_missing_axes_are_completed(cell):
    structure = Structure([1], np.zeros((1, 3)), cell, np.linalg.norm(cell, axis=1) > 0)
    complete = structure.complete_cell
    present = np.linalg.norm(cell, axis=1) > 0
    assert np.array_equal(complete[present], cell[present])
    assert np.linalg.norm(complete[~present], axis=1) == pytest.approx(1)
    assert abs(np.linalg.det(complete)) > 1e-3
    assert np.abs(complete[~present] @ cell[present].T).max(initial=0) < 1e-12


def test_a_molecule_needs_no_cell():
    assert len(Structure.from_atoms(molecule("H2O"))) == 3
