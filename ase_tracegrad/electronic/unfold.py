"""Bands of a supercell in the Brillouin zone of its primitive cell.

A supercell state is spread over the primitive k-points that fold to its own. The weight at k is
sum over primitive orbitals m of |N^-1/2 sum_T exp(-i k.T) (S^1/2 C)_{m T}|^2, in Loewdin's orthonormal
orbitals, so that the weights of a state at all its k add up to 1; in a perfect supercell each is 0 or 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..blocks import BlockMatrix
from ..structure import Structure
from .bloch import BlochSum, check_kpts
from .projections import iterate_states, join_bands, square_root


@dataclass(frozen=True, eq=False)
class SupercellMap:
    """Which primitive atom, in which primitive cell, each atom of a supercell is.

    matrix P (3, 3) int: supercell rows = P @ primitive rows; atoms (N,) primitive atom; cells T (N, 3) int.
    """

    matrix: np.ndarray
    atoms: np.ndarray
    cells: np.ndarray

    @property
    def n_cells(self) -> int:
        """Primitive cells in the supercell."""
        return abs(round(np.linalg.det(self.matrix)))


def map_supercell(supercell: Structure, primitive: Structure, *, tolerance: float = 1.0) -> SupercellMap:
    """Assign each supercell atom to the nearest site of the primitive crystal.

    tolerance: largest displacement in Angstrom. A strained supercell is compared in its own cell. Raises
    ValueError if the cells do not fit, an element differs, or a site is empty or taken twice.
    """
    matrix = np.rint(supercell.complete_cell @ np.linalg.inv(primitive.complete_cell)).astype(int)
    size = abs(round(np.linalg.det(matrix)))
    if size == 0 or len(supercell) != size * len(primitive):
        raise ValueError(
            f"a supercell of {len(supercell)} atoms does not consist of {size} cells of {len(primitive)} atoms; "
            f"the cells suggest the matrix {matrix.tolist()}"
        )
    cell = np.linalg.inv(matrix) @ supercell.complete_cell
    sites = primitive.positions @ np.linalg.inv(primitive.complete_cell)
    difference = (supercell.positions @ np.linalg.inv(cell))[:, None] - sites[None]
    cells = np.rint(difference).astype(int)
    distance = np.linalg.norm((difference - cells) @ cell, axis=-1)
    distance = np.where(supercell.numbers[:, None] == primitive.numbers[None, :], distance, np.inf)
    atoms = distance.argmin(axis=1)
    index = np.arange(len(supercell))
    worst = int(distance[index, atoms].argmax())
    if distance[worst, atoms[worst]] > tolerance:
        raise ValueError(
            f"atom {worst} is {distance[worst, atoms[worst]]:.2f} Angstrom from every site of its element in the primitive crystal "
            f"(tolerance {tolerance}): shift the primitive cell's origin to the supercell's, or remove defects"
        )
    chosen = cells[index, atoms]
    # Two cells are the same in the supercell if they differ by a supercell vector: T P^-1 det(P) modulo det(P).
    cofactors = np.rint(np.linalg.inv(matrix) * np.linalg.det(matrix)).astype(int)
    places = np.column_stack([atoms, (chosen @ cofactors) % size])
    if len(np.unique(places, axis=0)) != len(supercell):
        raise ValueError("two atoms of the supercell belong to the same site of the primitive crystal")
    return SupercellMap(matrix, atoms, chosen)


def unfold_bands(sums: BlochSum, supercell: SupercellMap, kpts) -> tuple[np.ndarray, np.ndarray]:
    """Energies (K, n) eV of the supercell and their weights (K, n) at k-points (K, 3) of the primitive cell.

    sums: H and S of the supercell; kpts: fractions of the primitive reciprocal vectors.
    """
    energies, weights = [], []
    for found, folded in fold_states(sums, supercell, kpts):
        energies.append(found)
        weights.append((np.abs(folded) ** 2).sum(axis=1))
    joined, joined_weights = join_bands(energies, weights)
    return joined, joined_weights


def orthonormal_states(sums: BlochSum, kpts) -> list[tuple[np.ndarray, np.ndarray]]:
    """At each k-point the energies (n,) eV and the coefficients (N, n) in Loewdin's orthonormal orbitals."""
    found = []
    for solution, _, s in iterate_states(sums, check_kpts(kpts)):
        coefficients = solution.coefficients if s is None else square_root(s) @ solution.coefficients
        found += list(zip(solution.energies, coefficients, strict=True))
    return found


def fold_states(sums: BlochSum, supercell: SupercellMap, kpts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For a few k-points at a time the energies (K, n) eV of the supercell, and its states in the orthonormal Bloch orbitals of
    the primitive cell, (K, N, n): |<state of the primitive crystal | column>|^2 is how much of it is in the supercell's state."""
    kpts = check_kpts(kpts)
    orbital, cells = _primitive_orbitals(sums.hamiltonian, supercell)
    phases = np.exp(-2j * np.pi * (kpts @ cells.T)) / np.sqrt(supercell.n_cells)
    start = 0
    for solution, chunk, s in iterate_states(sums, kpts @ supercell.matrix.T):
        orthonormal = solution.coefficients if s is None else square_root(s) @ solution.coefficients
        phased = phases[start : start + len(chunk), :, None] * orthonormal
        start += len(chunk)
        yield solution.energies, np.stack([phased[:, orbital == m].sum(axis=1) for m in np.unique(orbital)], axis=1)


def compute_spectral_function(energies, weights, grid, *, width: float) -> np.ndarray:
    """A(k, E) = sum of weights times Gaussians of standard deviation ``width`` eV: (K, G), 1/eV, grid (G,) eV."""
    if not np.isfinite(width) or width <= 0:
        raise ValueError(f"a spectral function needs a positive width in eV, found {width}")
    energies, weights, grid = (np.asarray(x, dtype=float) for x in (energies, weights, grid))
    if energies.ndim != 2 or weights.shape != energies.shape or grid.ndim != 1:
        raise ValueError(
            f"expected energies and weights (K, n) and a grid (G,); found {energies.shape}, {weights.shape}, {grid.shape}"
        )
    if not (np.isfinite(energies).all() and np.isfinite(weights).all() and np.isfinite(grid).all()):
        raise ValueError("energies, weights and the grid of a spectral function must be finite")
    spectra = [w @ np.exp(-0.5 * ((grid - e[:, None]) / width) ** 2) for e, w in zip(energies, weights, strict=True)]
    return np.array(spectra) / (width * np.sqrt(2 * np.pi))


def _primitive_orbitals(matrix: BlockMatrix, supercell: SupercellMap) -> tuple[np.ndarray, np.ndarray]:
    """For each orbital of the supercell the number of its primitive orbital, (N,), and its primitive cell, (N, 3)."""
    layout = matrix.layout
    if layout.n_atoms != len(supercell.atoms):
        raise ValueError(f"the matrix has {layout.n_atoms} atoms, the supercell {len(supercell.atoms)}")
    atom = np.repeat(np.arange(layout.n_atoms), layout.sizes)
    within = np.arange(layout.total) - layout.offsets[atom]
    largest = int(layout.sizes.max())
    orbital = supercell.atoms[atom] * largest + within
    spins = np.arange(matrix.n_spin)[:, None] * (largest * (supercell.atoms.max() + 1))
    return (spins + orbital).ravel(), np.tile(supercell.cells[atom], (matrix.n_spin, 1))
