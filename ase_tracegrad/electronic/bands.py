"""Bands: energies along any list of k-points."""

import numpy as np

from ..blocks import BlockMatrix
from .eigen import solve_bands


def compute_bands(hamiltonian: BlockMatrix, overlap: BlockMatrix | None, kpts, *, progress: bool = False) -> np.ndarray:
    """Energies (K, n) in eV, ascending at each k-point.

    hamiltonian H(R) in eV; overlap S(R), None for orthonormal orbitals; kpts (K, 3), fractions of the
    reciprocal vectors. Solves H(k) c = E S(k) c. Errors and further options: eigen.solve_bands.
    """
    return solve_bands(hamiltonian, overlap, kpts, progress=progress).energies
