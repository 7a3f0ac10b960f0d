"""Errors of H in combinations of orbitals that nearly vanish."""

import numpy as np
import pytest
from ase.build import molecule
from scipy.linalg import eigh

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.io.def2_svp import def2_svp_basis
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.overlap_filter import HIGH, filter_by_overlap
from ase_tracegrad.structure import Structure

FLOOR = 0.02


@pytest.fixture(scope="module")
def overlap() -> BlockMatrix:
    """S of benzene in def2-SVP, whose smallest eigenvalue is far below the floor."""
    structure = Structure.from_atoms(molecule("C6H6"))
    return compute_overlap(structure, def2_svp_basis())


def dense(matrix: BlockMatrix) -> np.ndarray:
    return matrix.bloch([[0, 0, 0]])[0].real


def as_blocks(overlap: BlockMatrix, values: np.ndarray) -> BlockMatrix:
    return BlockMatrix.from_dense(overlap.layout, [(0, 0, 0)], [values])


def test_each_combination_has_its_weight(overlap):
    """In the eigenvectors of S, M_ij is multiplied by w_i w_j, w = s^4 / (s^4 + floor^4)."""
    s, vectors = np.linalg.eigh(dense(overlap))
    assert s[0] < FLOOR / 4 < 4 * FLOOR < s[-1]
    m = np.random.default_rng(0).normal(size=2 * [len(s)])
    m += m.T
    found = vectors.T @ dense(filter_by_overlap(as_blocks(overlap, m), overlap, FLOOR)) @ vectors
    w = s**4 / (s**4 + FLOOR**4)
    assert np.abs(found - w[:, None] * (vectors.T @ m @ vectors) * w).max() < 1e-9
    assert np.abs(dense(filter_by_overlap(as_blocks(overlap, m), overlap, 0.0)) - m).max() < 1e-5


def test_noise_makes_no_ghost_states(overlap):
    """Noise of 0.1 eV beside a reference H = 0: states fall by hundreds of eV, with the filter thirty times less."""
    noise = np.random.default_rng(1).normal(size=dense(overlap).shape, scale=0.1)
    noise = as_blocks(overlap, noise + noise.T)
    lowest = eigh(dense(noise), dense(overlap), eigvals_only=True)[0]
    filtered = eigh(dense(filter_by_overlap(noise, overlap, FLOOR)), dense(overlap), eigvals_only=True)[0]
    assert lowest < 20 * filtered < 0


def test_what_is_left_out_stands_at_the_level(overlap):
    """H = 0 has all states at 0; with the filter those of small s rise to the level, as many as there are."""
    filtered = filter_by_overlap(as_blocks(overlap, np.zeros_like(dense(overlap))), overlap, FLOOR, level=HIGH)
    energies = eigh(dense(filtered), dense(overlap), eigvals_only=True)
    s = np.linalg.eigvalsh(dense(overlap))
    w = s**4 / (s**4 + FLOOR**4)
    assert np.abs(np.sort(energies) - np.sort(HIGH * (1 - w**2))).max() < 1e-6


def test_crystals_are_refused(overlap):
    between = BlockMatrix.from_dense(overlap.layout, [(0, 0, 0), (1, 0, 0)], 2 * [dense(overlap)])
    with pytest.raises(ValueError, match="expected the matrices of a molecule"):
        filter_by_overlap(between, overlap, FLOOR)
