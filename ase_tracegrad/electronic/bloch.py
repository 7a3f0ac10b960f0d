"""BlochSum: H(k) and S(k) of many k-points at once, and their derivatives with respect to k."""

import logging
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ..blocks import BlockMatrix
from .inversion import Inversion, RealOrbitals

logger = logging.getLogger(__name__)

# Hermiticity is asked for at one k-point without symmetry: there, any pair of blocks that are not
# adjoint to each other shows, because its phase is shared by no other pair.
GENERIC_KPT = (0.137, 0.291, 0.413)
HERMITICITY_TOLERANCE = 1e-5
# Largest element by which H (eV) and S may break inversion where it is used. Energies change by the square of it over
# their distances, at a touching point by no more than it.
INVERSION_TOLERANCE = {"Hamiltonian": 1e-5, "overlap": 1e-6}
# Above this share of elements that are stored, a dense matrix product over all R is faster than a sparse one.
DENSE_ABOVE = 0.2
DENSE_LIMIT = 2**26  # numbers
# Up to this many orbitals the stored elements of M(k) are found by marking them in a full matrix, above by sorting.
SORT_ABOVE = 4096


class BlochError(ValueError):
    """A Hamiltonian or overlap that no solver can start from; the message says which and why."""


@dataclass(frozen=True, eq=False)
class BlochSum:
    """H(R) and S(R), checked and arranged for fast sums over R.

    hamiltonian in eV; overlap dimensionless, None for orthonormal orbitals. The overlap of a
    spinor Hamiltonian may be spinless; it then acts on both spin components alike.
    inversion: where given, the matrices real at every k are built as well, unless H or S do not obey it; then
    real_orbitals is None and the reason is logged.
    Raises BlochError for different layouts, numbers that are not finite, or a matrix that is not Hermitian.
    """

    hamiltonian: BlockMatrix
    overlap: BlockMatrix | None = None
    inversion: Inversion | None = None
    real_orbitals: RealOrbitals | None = field(default=None, init=False, repr=False)
    _patterns: dict[str, "_Pattern"] = field(default_factory=dict, init=False, repr=False)
    _real_patterns: dict[str, "_Pattern"] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        h, s = self.hamiltonian, self.overlap
        if h.n_orbitals == 0:
            raise BlochError("the Hamiltonian has no orbitals")
        if s is not None and s.layout.shells != h.layout.shells:
            raise BlochError(
                f"Hamiltonian and overlap have different orbitals: {h.layout.n_atoms} atoms with {h.layout.total} orbitals "
                f"and {s.layout.n_atoms} with {s.layout.total}; take both from the same structure and basis"
            )
        if s is not None and s.n_spin > h.n_spin:
            raise BlochError("a spinor overlap needs a spinor Hamiltonian")
        for name, matrix in (("Hamiltonian", h), ("overlap", s)):
            if matrix is not None:
                _check_finite(name, matrix)
                self._patterns[name] = _Pattern.of(matrix)
                _check_hermitian(name, self._patterns[name].sum(np.array([GENERIC_KPT]))[0])
        if self.inversion is not None:
            self._arrange_real(self.inversion)

    @property
    def n_orbitals(self) -> int:
        """Dimension of H(k)."""
        return self.hamiltonian.n_orbitals

    @property
    def is_real(self) -> bool:
        """Whether H(R) and S(R) are real, so that E(-k) = E(k) and H(k) is real where 2k is a reciprocal vector."""
        return all(m is None or not np.iscomplexobj(m.values) for m in (self.hamiltonian, self.overlap))

    def build(self, kpts) -> tuple[np.ndarray, np.ndarray | None]:
        """H(k) and S(k) at kpts (K, 3), each (K, N, N) complex128; S is None for orthonormal orbitals."""
        kpts = check_kpts(kpts)
        h = self._patterns["Hamiltonian"].sum(kpts)
        return h, None if self.overlap is None else self._spread(self._patterns["overlap"].sum(kpts))

    def is_real_at(self, kpts: np.ndarray) -> np.ndarray:
        """(K,) bool: by inversion everywhere; else where 2k is a reciprocal vector, since all phases are +-1 there."""
        if self.real_orbitals is not None:
            return np.ones(len(kpts), dtype=bool)
        return self.is_real & (np.abs(2 * kpts - np.rint(2 * kpts)) < 1e-12).all(axis=1)

    def build_simplest(self, kpts) -> tuple[np.ndarray, np.ndarray | None]:
        """H(k) and S(k) at kpts (K, 3), as real matrices (K, N, N) where is_real_at all of them, by inversion between
        the real_orbitals."""
        kpts, orbitals = check_kpts(kpts), self.real_orbitals
        if orbitals is not None:
            built = [orbitals.make_real(pattern.sum(kpts)) for pattern in self._real_patterns.values()]
            return built[0], built[1] if len(built) > 1 else None
        h, s = self.build(kpts)
        if not self.is_real_at(kpts).all():
            return h, s
        return np.ascontiguousarray(h.real), None if s is None else np.ascontiguousarray(s.real)

    def _arrange_real(self, inversion: Inversion):
        """Set real_orbitals, if H and S are seen at one k-point to be what they give."""
        if self.hamiltonian.n_spin > 1 or not self.is_real:
            logger.info("inversion is not used: it makes H(k) real for real H(R) without spin only")
            return
        orbitals, kpts = inversion.arrange(self.hamiltonian.layout), np.array([GENERIC_KPT])
        for name, matrix in (("Hamiltonian", self.hamiltonian), ("overlap", self.overlap)):
            if matrix is None:
                continue
            pattern = self._real_patterns[name] = _Pattern.of_rows(matrix, orbitals)
            half = orbitals.restore(orbitals.make_real(pattern.sum(kpts)), kpts)  # U M', and then (U (U M')^+)^+
            back = orbitals.restore(half.conj().swapaxes(1, 2), kpts).conj().swapaxes(1, 2)
            residual = float(np.abs(back - self._patterns[name].sum(kpts)).max())
            if residual > INVERSION_TOLERANCE[name]:
                logger.info("inversion is not used: the %s(k) that it makes real differs by %.2g", name, residual)
                return
        object.__setattr__(self, "real_orbitals", orbitals)

    def build_sparse(self, kpt) -> tuple[sparse.csc_array, sparse.csc_array]:
        """H(k) and S(k) at one k-point (3,) as sparse matrices; S is the identity for orthonormal orbitals."""
        kpts = check_kpts(kpt)[:1]
        h = self._patterns["Hamiltonian"].sum_sparse(kpts)
        if self.overlap is None:
            return h, sparse.eye_array(self.n_orbitals, format="csc")
        s = self._patterns["overlap"].sum_sparse(kpts)
        return h, s if s.shape == h.shape else sparse.block_diag([s, s], format="csc")

    def derivative(self, kpts, cell, order: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
        """dH/dk and dS/dk along x, y, z: (3, K, N, N), eV Angstrom and Angstrom; second order: (3, 3, K, N, N).

        dM/dk = sum_R i R exp(i k.R) M(R) with R = shift @ cell (cell: (3, 3) Angstrom, rows).
        """
        kpts = check_kpts(kpts)
        h = self._patterns["Hamiltonian"].derivative(kpts, cell, order)
        if self.overlap is None:
            return h, None
        s = self._patterns["overlap"].derivative(kpts, cell, order)
        spread = self._spread(s.reshape(-1, *s.shape[-2:]))
        return h, spread.reshape(*s.shape[:-2], *spread.shape[-2:])

    def _spread(self, overlap: np.ndarray) -> np.ndarray:
        """A spinless S(k) on both spin components of a spinor Hamiltonian."""
        n = overlap.shape[-1]
        if n == self.n_orbitals:
            return overlap
        out = np.zeros((len(overlap), 2 * n, 2 * n), dtype=overlap.dtype)
        out[:, :n, :n] = out[:, n:, n:] = overlap
        return out


class _Pattern:
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
            self.positions, row = np.unique(elements, return_inverse=True) if shape[1] > SORT_ABOVE else _mark(elements, size)
            self.matrix = sparse.csr_array((values, (row, cell_of)), shape=(len(self.positions), n_cells))

    @classmethod
    def of(cls, matrix: BlockMatrix) -> "_Pattern":
        n = matrix.n_orbitals
        return cls((n, n), *_arrange_elements(matrix, np.arange(n), matrix.shifts), matrix.values)

    @classmethod
    def of_rows(cls, matrix: BlockMatrix, orbitals: RealOrbitals) -> "_Pattern":
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


def _check_finite(name: str, matrix: BlockMatrix):
    bad = np.nonzero(~np.isfinite(matrix.values))[0]
    if len(bad):
        block = int(np.searchsorted(matrix.offsets, bad[0], side="right")) - 1
        where = (*matrix.pairs[block].tolist(), matrix.shifts[block].tolist())
        raise BlochError(f"the {name} holds {len(bad)} numbers that are not finite, the first in block {where}")


def _check_hermitian(name: str, at_k: np.ndarray):
    residual = np.abs(at_k - at_k.conj().T).max()
    if residual > HERMITICITY_TOLERANCE * max(1.0, np.abs(at_k).max()):
        raise BlochError(
            f"the {name} is not Hermitian: M(k) differs from its adjoint by {residual:.2e}; every block (i, j, R) needs "
            "its partner (j, i, -R). For small numerical residuals use matrix.symmetrized()"
        )


def check_kpts(kpts) -> np.ndarray:
    """kpts as a float array (K, 3); ValueError if they are not finite fractions of reciprocal vectors."""
    kpts = np.asarray(kpts, dtype=float)
    if kpts.shape == (3,):
        kpts = kpts[None]
    if kpts.ndim != 2 or kpts.shape[1] != 3 or len(kpts) == 0:
        raise ValueError(f"expected k-points of shape (K, 3) with K > 0, found shape {kpts.shape}")
    if not np.isfinite(kpts).all():
        raise ValueError(f"k-point {np.nonzero(~np.isfinite(kpts).all(axis=1))[0][0]} is not finite")
    if np.abs(kpts).max() > 100:
        raise ValueError(f"a k-point has the coordinate {np.abs(kpts).max():g}: k-points are fractions of reciprocal vectors")
    return kpts
