"""What no network knows of a Hamiltonian: its part in combinations of orbitals that nearly vanish.

An error dH of all blocks alike shifts the energy of a normalised state c / sqrt(s), S c = s c, by c^T dH c / s: in large basis
sets, where s reaches 1e-3, an error of 10 meV makes a ghost state among the occupied ones.
"""

import numpy as np

from .blocks import BlockMatrix

HIGH = 60.0  # eV above the vacuum; true states of nearly vanishing combinations of orbitals are unoccupied, by about as much


def filter_by_overlap(matrix: BlockMatrix, overlap: BlockMatrix, floor: float, *, level: float = 0.0) -> BlockMatrix:
    """A M A + level (S - A S A) with A = S^2 (S^2 + floor^2)^-1, of a molecule.

    M is as it was where the eigenvalues s of S are far above ``floor`` (99 % at 14 of it), a quarter of it is left at s = floor;
    combinations of smaller s are states at ``level`` (eV). For a
    difference from a good estimate of H the level is 0, for H itself HIGH. A turns with the molecule and depends on the positions
    as smoothly as S does. ValueError for a crystal, whose A(R) reaches as far as the inverse of S.
    """
    if matrix.shifts.any() or overlap.shifts.any():
        raise ValueError("expected the matrices of a molecule, with all blocks in one cell, found blocks between cells")
    m, s = (part.bloch([[0, 0, 0]])[0].real for part in (matrix, overlap))
    square = s @ s
    a = np.linalg.solve(square + floor**2 * np.eye(len(s)), square)
    return BlockMatrix.from_dense(matrix.layout, [(0, 0, 0)], [a.T @ (m - level * s) @ a + level * s])
