"""What no network knows of a Hamiltonian: its part in combinations of orbitals that nearly vanish.

An error dH of all blocks alike shifts the energy of a normalised state c / sqrt(s), S c = s c, by c^T dH c / s: in large basis
sets, where s reaches 1e-3, an error of 10 meV makes a ghost state among the occupied ones.
"""

import numpy as np

from .blocks import BlockMatrix

HIGH = 30.0  # eV above the vacuum: about where nearly vanishing combinations of the orbitals of def2-SVP are states


def filter_by_overlap(matrix: BlockMatrix, overlap: BlockMatrix, floor: float, *, level: float = 0.0) -> BlockMatrix:
    """A M A + level (S - A S A) with A = S^4 (S^4 + floor^4)^-1, of a molecule.

    M stays where the eigenvalues s of S are far above ``floor`` (99 % at 3.8 of it) and a quarter of it at s = floor; combinations
    of smaller s are states at ``level`` (eV). For a difference from a good estimate of H the level is 0, for H itself HIGH. A turns
    with the molecule and depends on the positions as smoothly as S does. ValueError for a crystal, whose A(R) reaches as far as
    the inverse of S.
    """
    if matrix.shifts.any() or overlap.shifts.any():
        raise ValueError("expected the matrices of a molecule, with all blocks in one cell, found blocks between cells")
    m, s = (part.bloch([[0, 0, 0]])[0].real for part in (matrix, overlap))
    values, vectors = np.linalg.eigh(s)  # S^4 itself would lose the small ones to rounding
    a = vectors * (values**4 / (values**4 + floor**4)) @ vectors.T
    return BlockMatrix.from_dense(matrix.layout, [(0, 0, 0)], [a @ (m - level * s) @ a + level * s])
