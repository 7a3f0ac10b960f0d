"""BlochSum: H(k) and S(k) of many k-points at once, and their derivatives with respect to k."""

import copy
import logging
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ..blocks import BlockMatrix
from .inversion import Inversion, RealOrbitals
from .lattice_sum import LatticeSum

logger = logging.getLogger(__name__)

# Hermiticity is asked for at one k-point without symmetry: there, any pair of blocks that are not
# adjoint to each other shows, because its phase is shared by no other pair.
GENERIC_KPT = (0.137, 0.291, 0.413)
HERMITICITY_TOLERANCE = 1e-5
# Largest element by which H (eV) and S may break inversion where it is used. Energies change by the square of it over
# their distances, at a touching point by no more than it.
INVERSION_TOLERANCE = {"Hamiltonian": 1e-5, "overlap": 1e-6}
# Modes of S are dropped below hamiltonian_error / ENERGY_SCALE, so that what the error of H is amplified
# to stays below the energies of interest; never below the rounding of S itself.
ENERGY_SCALE = 4.0  # eV
SMALLEST_THRESHOLD = 1e-10


class BlochError(ValueError):
    """A Hamiltonian or overlap that no solver can start from; the message says which and why."""


@dataclass(frozen=True, eq=False)
class BlochSum:
    """H(R) and S(R), checked and arranged for fast sums over R.

    hamiltonian in eV; overlap dimensionless, None for orthonormal orbitals. The overlap of a
    spinor Hamiltonian may be spinless; it then acts on both spin components alike. hamiltonian_error: expected error
    of H in eV (a model card gives it); all that is solved from one BlochSum drops the same modes of S, below ``threshold``.
    Raises BlochError for different layouts, numbers that are not finite, or a matrix that is not Hermitian;
    ValueError for an error that is negative.
    """

    hamiltonian: BlockMatrix
    overlap: BlockMatrix | None = None
    hamiltonian_error: float = 0.0
    real_orbitals: RealOrbitals | None = field(default=None, init=False, repr=False)
    _sums: dict[str, LatticeSum] = field(default_factory=dict, init=False, repr=False)
    _real_sums: dict[str, LatticeSum] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        h, s = self.hamiltonian, self.overlap
        _check_error(self.hamiltonian_error)
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
                self._sums[name] = LatticeSum.of(matrix)
                _check_hermitian(name, self._sums[name])

    def with_inversion(self, inversion: Inversion | None) -> "BlochSum":
        """The same, with the matrices real at every k as well, unless H or S do not obey inversion (the reason is logged)."""
        if inversion is None:
            return self
        twin = copy.copy(self)
        object.__setattr__(twin, "_real_sums", {})
        twin._arrange_real(inversion)
        return twin

    def with_error(self, hamiltonian_error: float) -> "BlochSum":
        """The same with another expected error of H, without arranging anything again."""
        twin = copy.copy(self)
        object.__setattr__(twin, "hamiltonian_error", _check_error(hamiltonian_error))
        return twin

    @property
    def threshold(self) -> float:
        """Modes of S(k) with a smaller eigenvalue are dropped."""
        return max(self.hamiltonian_error / ENERGY_SCALE, SMALLEST_THRESHOLD)

    @property
    def complete_overlap(self) -> BlockMatrix:
        """S(R), also of orthonormal orbitals."""
        layout = self.hamiltonian.layout
        unit = {(i, i, (0, 0, 0)): np.eye(n) for i, n in enumerate(layout.sizes)}
        return BlockMatrix.from_blocks(layout, unit) if self.overlap is None else self.overlap

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
        h = self._sums["Hamiltonian"].sum(kpts)
        return h, None if self.overlap is None else self._spread(self._sums["overlap"].sum(kpts))

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
            built = [orbitals.make_real(pattern.sum(kpts)) for pattern in self._real_sums.values()]
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
            pattern = self._real_sums[name] = LatticeSum.of_rows(matrix, orbitals)
            half = orbitals.restore(orbitals.make_real(pattern.sum(kpts)), kpts)  # U M', and then (U (U M')^+)^+
            back = orbitals.restore(half.conj().swapaxes(1, 2), kpts).conj().swapaxes(1, 2)
            residual = float(np.abs(back - self._sums[name].sum(kpts)).max())
            if residual > INVERSION_TOLERANCE[name]:
                logger.info("inversion is not used: the %s(k) that it makes real differs by %.2g", name, residual)
                return
        object.__setattr__(self, "real_orbitals", orbitals)

    def build_sparse(self, kpt) -> tuple[sparse.csc_array, sparse.csc_array]:
        """H(k) and S(k) at one k-point (3,) as sparse matrices; S is the identity for orthonormal orbitals."""
        kpts = check_kpts(kpt)[:1]
        h = self._sums["Hamiltonian"].sum_sparse(kpts)
        if self.overlap is None:
            return h, sparse.eye_array(self.n_orbitals, format="csc")
        s = self._sums["overlap"].sum_sparse(kpts)
        return h, s if s.shape == h.shape else sparse.block_diag([s, s], format="csc")

    def derivative(self, kpts, cell, order: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
        """dH/dk and dS/dk along x, y, z: (3, K, N, N), eV Angstrom and Angstrom; second order: (3, 3, K, N, N).

        dM/dk = sum_R i R exp(i k.R) M(R) with R = shift @ cell (cell: (3, 3) Angstrom, rows).
        """
        kpts = check_kpts(kpts)
        if np.shape(cell) != (3, 3):
            raise ValueError(f"expected the cell as three rows (3, 3) in Angstrom, found shape {np.shape(cell)}")
        h = self._sums["Hamiltonian"].derivative(kpts, cell, order)
        if self.overlap is None:
            return h, None
        s = self._sums["overlap"].derivative(kpts, cell, order)
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


def _check_error(error: float) -> float:
    if not (np.isfinite(error) and error >= 0):
        raise ValueError(f"hamiltonian_error is an energy in eV, not negative; found {error}")
    return error


def _check_finite(name: str, matrix: BlockMatrix):
    bad = np.nonzero(~np.isfinite(matrix.values))[0]
    if len(bad):
        block = int(np.searchsorted(matrix.offsets, bad[0], side="right")) - 1
        where = (*matrix.pairs[block].tolist(), matrix.shifts[block].tolist())
        raise BlochError(f"the {name} holds {len(bad)} numbers that are not finite, the first in block {where}")


def _check_hermitian(name: str, sums: LatticeSum):
    kpts = np.array([GENERIC_KPT])
    # What the sparse solver can take may be far too large as a full matrix.
    at_k = sums.sum(kpts)[0] if sums.positions is None else sums.sum_sparse(kpts)
    residual = abs(at_k - at_k.conj().T).max()
    if residual > HERMITICITY_TOLERANCE * max(1.0, abs(at_k).max()):
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
