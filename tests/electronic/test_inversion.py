import logging

import numpy as np
import pytest

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.inversion import Inversion, find_inversion
from ase_tracegrad.electronic.resources import Machine
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import symmetrize
from ase_tracegrad.structure import Structure
from tests.electronic.lattice_models import random_model, random_on_structure

CUBE = 3.1 * np.eye(3)


def rock_salt(shift=0.0) -> Structure:
    """Both atoms stand on centres, half a cell apart."""
    return Structure([11, 17], np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) @ CUBE + shift, CUBE, [True] * 3)


def pairs_and_centres() -> Structure:
    """Two pairs and two atoms alone, the pairs' images in other cells."""
    fractional = np.array([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0], [0.4, -0.3, 0.1], [-0.1, 0.8, -0.3], [0.5, 0.0, 0.5], [0.6, 0.3, 0.9]])
    cell = np.array([[5.0, 0, 0], [1.0, 6.0, 0], [0.3, -0.4, 5.5]])
    return Structure([6, 14, 6, 6, 14, 6], (fractional + 0.07) @ cell, cell, [True] * 3)


SHELLS = {6: (0, 1), 14: (0, 1, 2), 11: (0, 1), 17: (1, 0, 2)}


def symmetric_model(structure: Structure, reach: float = 1.8):
    """Random H and S projected onto inversion and identity."""
    group = find_space_group(structure)
    keep = np.array([np.array_equal(w, s * np.eye(3)) for w in group.rotations for s in [np.sign(np.linalg.det(w))]])
    group = group.select(keep)
    assert len(group) == 2
    return tuple(symmetrize(m, group) for m in random_on_structure(structure, SHELLS, reach=reach))


@pytest.mark.parametrize("structure", [rock_salt(), rock_salt(0.4), pairs_and_centres()])
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("library", ["torch", "auto"])
def test_the_same_states_in_real_arithmetic(structure, overlapping, library):
    h, s = symmetric_model(structure)
    s = s if overlapping else None
    kpts = np.random.default_rng(1).uniform(-0.5, 0.5, size=(5, 3))
    plain = solve_bands(h, s, kpts)
    assert plain.report.n_real == 0
    real = solve_bands(h, s, kpts, eigenvectors=True, inversion=find_inversion(structure), machine=Machine(library=library))
    assert real.report.n_real == 5
    assert real.report.route.endswith(", inversion")
    assert np.abs(real.energies - plain.energies).max() < 1e-11
    c, overlap = real.coefficients, np.eye(h.n_orbitals) if s is None else s.bloch(kpts)
    assert np.abs(h.bloch(kpts) @ c - overlap @ c * real.energies[:, None]).max() < 1e-10
    assert np.abs(c.conj().swapaxes(1, 2) @ overlap @ c - np.eye(h.n_orbitals)).max() < 1e-11
    assert np.abs(solve_bands(h, s, kpts, inversion=find_inversion(structure)).energies - plain.energies).max() < 1e-11


def test_where_atoms_go():
    structure = pairs_and_centres()
    inversion = find_inversion(structure)
    assert inversion.images.tolist() == [3, 1, 5, 0, 4, 2]
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    centres = fractional + fractional[inversion.images] + inversion.cells
    assert np.abs(centres - centres[0]).max() < 1e-12


def test_structures_without_inversion():
    moved = pairs_and_centres().positions.copy()
    moved[0] += 0.05
    structure = pairs_and_centres()
    assert find_inversion(Structure(structure.numbers, moved, structure.cell, structure.pbc)) is None
    zincblende = Structure([31, 33], [[0, 0, 0], [1.4, 1.4, 1.4]], 2.8 * (1 - np.eye(3)), [True] * 3)
    assert find_inversion(zincblende) is None
    # The image would lie in the next cell along an axis that is not repeated.
    chain = Structure([6, 6, 7], [[0, 0, 0.5], [0, 0, 4.5], [0, 0, 0]], 5 * np.eye(3), [True, True, False])
    assert find_inversion(chain) is None
    assert find_inversion(Structure(chain.numbers, chain.positions, chain.cell, [True] * 3)) is not None


def test_matrices_that_break_inversion_are_solved_as_they_are(caplog):
    structure = rock_salt()
    h, s = random_on_structure(structure, SHELLS, reach=1.8)
    kpts = [[0.1, 0.2, 0.3]]
    with caplog.at_level(logging.INFO):
        solution = solve_bands(h, s, kpts, inversion=find_inversion(structure))
    assert "inversion is not used" in caplog.text
    assert solution.report.n_real == 0
    assert np.abs(solution.energies - solve_bands(h, s, kpts).energies).max() < 1e-12


def test_spinors_are_solved_as_they_are():
    structure = rock_salt()
    h, s = random_on_structure(structure, SHELLS, reach=1.8, spinor=True)
    assert BlochSum(h, s).with_inversion(find_inversion(structure)).real_orbitals is None


def test_an_inversion_of_another_structure_is_refused():
    h, s = random_model()
    with pytest.raises(ValueError, match="inversion is of 3 atoms"):
        BlochSum(h, s).with_inversion(Inversion(np.arange(3), np.zeros((3, 3), dtype=int)))
    with pytest.raises(ValueError, match="different orbitals"):
        BlochSum(h, s).with_inversion(Inversion(np.array([1, 0]), np.zeros((2, 3), dtype=int)))


def test_a_small_violation_is_tolerated_and_harmless():
    structure = rock_salt()
    h, s = symmetric_model(structure)
    noise = random_on_structure(structure, SHELLS, reach=1.8, seed=5)[0]
    noisy = BlockMatrix.__add__(h, 1e-7 * noise)
    solution = solve_bands(noisy, s, [[0.1, 0.2, 0.3]], inversion=find_inversion(structure))
    assert solution.report.n_real == 1
    assert np.abs(solution.energies - solve_bands(noisy, s, [[0.1, 0.2, 0.3]]).energies).max() < 1e-10
