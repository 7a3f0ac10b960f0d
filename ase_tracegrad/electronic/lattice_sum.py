"""LatticeSum: the numbers of M(R) arranged so that M(k), or its derivatives, of many k-points is one matrix product."""

import numpy as np
from scipy import sparse

from ..blocks import BlockMatrix
from .inversion import RealOrbitals

# Above this share of elements that are stored, a dense matrix product over all R is faster than a sparse one.
DENSE_ABOVE = 0.2
DENSE_LIMIT = 2**26  # numbers
# Up to this many orbitals the stored elements of M(k) are found by marking them in a full matrix, above by sorting.
SORT_ABOVE = 4096


class LatticeSum:
    """Some rows of M(R) as a matrix (elements x cells), so that M(k) = matrix @ phases for all k in one product.

    shape (R, N); elements: places row * N + column of ``values``; cell_of: number in ``cells`` (C, 3) of each.
    """

    def __init__(self, shape: tuple[int, int], elements: np.ndarray, cell_of: np.ndarray, cells: np.ndarray, values: np.ndarray):
        self.shape, self.cells = shape, cells
        size, n_cells = shape[0] * shape[1], len(cells)
        self.positions: np.ndarray | None = None
        if len(elements) > DENSE_ABOVE * size * n_cells and size * n_cells < DENSE_LIMIT:
            # Written cell by cell, so that the rows of a block stay together in memory.
            by_cell = np.zeros(n_cells * size, dtype=values.dtype)
            by_cell[cell_of * size + elements] = values
            self.matrix = by_cell.reshape(n_cells, size).T
        else:
            # DFT codes store whole blocks of pairs, and half of the numbers may be below their threshold, exactly zero.
            stored = values != 0
            elements, cell_of, values = elements[stored], cell_of[stored], values[stored]
            self.positions, row = np.unique(elements, return_inverse=True) if shape[1] > SORT_ABOVE else _mark(elements, size)
            self.matrix = sparse.csr_array((values, (row, cell_of)), shape=(len(self.positions), n_cells))

    @classmethod
    def of(cls, matrix: BlockMatrix) -> "LatticeSum":
        n = matrix.n_orbitals
        return cls((n, n), *_arrange_elements(matrix, np.arange(n), matrix.shifts), matrix.values)

    @classmethod
    def of_rows(cls, matrix: BlockMatrix, orbitals: RealOrbitals) -> "LatticeSum":
        """The rows and the order of the orbitals that make M(k) real, with their phases and signs."""
        shape = (orbitals.n_rows, matrix.n_orbitals)
        of_atoms = orbitals.cells[matrix.layout.offsets[:-1]]
        # Twice the cells are integers.
        doubled = np.rint(2 * (matrix.shifts + of_atoms[matrix.pairs[:, 0]] - of_atoms[matrix.pairs[:, 1]])).astype(int)
        elements, cell_of, cells = _arrange_elements(matrix, orbitals.places, doubled)
        keep = elements < shape[0] * shape[1]
        elements = elements[keep]
        return cls(shape, elements, cell_of[keep], cells / 2, matrix.values[keep] * orbitals.signs[elements % shape[1]])

    def sum(self, kpts: np.ndarray) -> np.ndarray:
        return self._apply(np.exp(2j * np.pi * (self.cells @ kpts.T)))

    def sum_sparse(self, kpts: np.ndarray) -> sparse.csc_array:
        values = (self.matrix @ np.exp(2j * np.pi * (self.cells @ kpts[0]))).ravel()
        positions = np.arange(self.shape[0] * self.shape[1]) if self.positions is None else self.positions
        return sparse.csc_array((values, np.divmod(positions, self.shape[1])), shape=self.shape)

    def derivative(self, kpts: np.ndarray, cell, order: int) -> np.ndarray:
        vectors = 1j * (self.cells @ np.asarray(cell, dtype=float))
        factors = vectors.T if order == 1 else np.einsum("ca,cb->abc", vectors, vectors)
        phases = np.exp(2j * np.pi * (self.cells @ kpts.T))
        parts = [self._apply(factor[:, None] * phases) for factor in factors.reshape(-1, len(vectors))]
        return np.stack(parts).reshape(*factors.shape[:-1], len(kpts), *self.shape)

    def _apply(self, phases: np.ndarray) -> np.ndarray:
        """phases (cells, K) -> (K, R, N). A real matrix multiplies real and imaginary parts side by side."""
        n_kpts = phases.shape[1]
        if np.iscomplexobj(self.matrix):
            values = self.matrix @ phases
        else:
            values = (self.matrix @ np.ascontiguousarray(phases).view(float)).view(complex)
        if self.positions is None:
            return np.ascontiguousarray(values.T).reshape(n_kpts, *self.shape)
        out = np.zeros((n_kpts, self.shape[0] * self.shape[1]), dtype=complex)
        out[:, self.positions] = values.T
        return out.reshape(n_kpts, *self.shape)


def _arrange_elements(matrix: BlockMatrix, places: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each stored number: its place row * N + column in M(k), the number of its cell; and the different cells (C, 3).

    places (N,): row and column of each orbital; cells (B, 3): of each block.
    """
    cells, cell_of = np.unique(cells, axis=0, return_inverse=True)
    starts, sizes = matrix.layout.offsets[matrix.pairs], matrix.layout.sizes[matrix.pairs]
    spins = matrix.layout.total * np.arange(matrix.n_spin)
    elements = np.empty(matrix.offsets[-1], dtype=np.int64)
    for shape in np.unique(sizes, axis=0):
        members = np.nonzero((sizes == shape).all(axis=1))[0]
        within = [(spins[:, None] + np.arange(n)).ravel() for n in shape]
        rows, columns = (places[starts[members, side, None] + within[side]] for side in range(2))
        elements[matrix.offsets[members][:, None] + np.arange(len(within[0]) * len(within[1]))] = (
            rows[:, :, None] * matrix.n_orbitals + columns[:, None, :]
        ).reshape(len(members), -1)
    return elements, np.repeat(cell_of.ravel(), np.diff(matrix.offsets)), cells


def _mark(elements: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """np.unique(elements, return_inverse=True) for numbers below ``size``, without a sort."""
    present = np.zeros(size, dtype=bool)
    present[elements] = True
    return np.nonzero(present)[0], np.cumsum(present)[elements] - 1
