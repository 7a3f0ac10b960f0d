"""solve_chunk: H c = E S c for a few k-points at once, dense, on the processor or a graphics card.

S = L L^+ (Cholesky) turns the problem into L^-1 H L^-+. At k-points where S is nearly singular this
amplifies the errors of H by 1 / (smallest eigenvalue of S), and ghost states appear far below the
bands; there, and only there, the modes of S below a threshold are dropped (canonical orthogonalization).
"""

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

logger = logging.getLogger(__name__)

# An eigenvalue of S below this is no rounding: the matrix is not an overlap.
INDEFINITE_BELOW = -1e-6
INVERSE_STEPS = 4
# Above, L^-1 H L^-+ is put together from halves: half the operations of two solutions with all of L.
HALVED_ABOVE = 256  # orbitals
# Relative rounding that trace, norm and residual of a sound diagonalization stay below.
VERIFIED = 1e-9


@dataclass(frozen=True, eq=False)
class StatesAtK:
    """Of one k-point: energies (n,) eV; coefficients (N, n) or None; estimated smallest eigenvalue of S; modes of S dropped."""

    energies: np.ndarray
    coefficients: np.ndarray | None
    smallest_overlap: float
    dropped: int = 0


class IndefiniteOverlap(Exception):
    """The matrix number ``index`` of a chunk has the negative ``eigenvalue``."""

    def __init__(self, index: int, eigenvalue: float):
        self.index, self.eigenvalue = index, eigenvalue


class DenseLibrary(Protocol):
    """What solve_chunk needs: factors of S with an estimate of its smallest eigenvalue, and the states of H."""

    def factorize(self, overlap: np.ndarray) -> tuple:
        """Factors of S (b, N, N), indexed by k, and estimates (b,) from above of the smallest eigenvalues, -inf without factor."""

    def solve(self, hamiltonian: np.ndarray, factor, vectors: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Energies (b, N), coefficients (b, N, N) or None; factor None for S = 1; the Hamiltonian may be overwritten."""


def solve_chunk(library: DenseLibrary, h: np.ndarray, s: np.ndarray | None, vectors: bool, threshold: float) -> list[StatesAtK]:
    """All k-points of h, s (b, N, N), complex or real, s None for orthonormal orbitals; both may be overwritten.

    threshold: modes of S below it are dropped. Raises IndefiniteOverlap.
    """
    if s is None:
        energies, coefficients = library.solve(h, None, vectors)
        return [StatesAtK(e, None if coefficients is None else coefficients[b], 1.0) for b, e in enumerate(energies)]
    factor, smallest = library.factorize(s)
    # The estimate is an upper bound, so it is trusted only well above the threshold.
    sound = smallest > 10 * threshold
    results: dict[int, StatesAtK] = {k: _solve_canonical(h[k], s[k], vectors, threshold, k) for k in np.nonzero(~sound)[0].tolist()}
    keep = np.nonzero(sound)[0]
    if len(keep):
        energies, coefficients = library.solve(*((h, factor) if sound.all() else (h[keep], factor[keep])), vectors)
        for b, k in enumerate(keep.tolist()):
            results[k] = StatesAtK(energies[b], None if coefficients is None else coefficients[b], float(smallest[k]))
    return [results[k] for k in range(len(h))]


def _solve_canonical(h: np.ndarray, s: np.ndarray, vectors: bool, threshold: float, index: int) -> StatesAtK:
    """Diagonalize H in the modes of S above the threshold, X = U s^(-1/2)."""
    eigenvalues, modes = torch.linalg.eigh(torch.from_numpy(s))
    smallest = float(eigenvalues[0])
    if smallest < INDEFINITE_BELOW:
        raise IndefiniteOverlap(index, smallest)
    keep = eigenvalues > threshold
    basis = modes[:, keep] / eigenvalues[keep].sqrt()
    energies, coefficients = TorchLibrary().diagonalize(basis.mH @ torch.from_numpy(h) @ basis, vectors)
    expanded = None if coefficients is None else (basis @ coefficients).numpy()
    return StatesAtK(energies.numpy(), expanded, smallest, int((~keep).sum()))


class TorchLibrary:
    """Batched Cholesky reduction and diagonalization by torch on one device."""

    def __init__(self, device: str = "cpu"):
        self.device = torch.device(device)

    def factorize(self, overlap: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Cholesky factors on the device and estimates of the smallest eigenvalues."""
        factor, info = torch.linalg.cholesky_ex(torch.from_numpy(overlap).to(self.device))
        return factor, np.where(info.cpu().numpy() == 0, _smallest_eigenvalue(factor), -np.inf)

    def solve(self, hamiltonian: np.ndarray, factor: torch.Tensor | None, vectors: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Energies (b, N) and coefficients (b, N, N) or None."""
        energies, coefficients = self.diagonalize(self.reduce(hamiltonian, factor), vectors)
        return self.finish(energies, coefficients, factor)

    def reduce(self, hamiltonian: np.ndarray, factor: torch.Tensor | None) -> torch.Tensor:
        """L^-1 H L^-+."""
        h = torch.from_numpy(hamiltonian).to(self.device)
        return h if factor is None else _reduce(h, factor)

    def diagonalize(self, matrices: torch.Tensor, vectors: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Eigenvalues, and eigenvectors if asked for."""
        if not vectors:
            return torch.linalg.eigvalsh(matrices), None
        return tuple(torch.linalg.eigh(matrices))

    def finish(self, energies: torch.Tensor, coefficients: torch.Tensor | None, factor: torch.Tensor | None):
        """Coefficients L^-+ c, and both as arrays."""
        if coefficients is not None and factor is not None:
            coefficients = torch.linalg.solve_triangular(factor.mH, coefficients, upper=True)
        return energies.cpu().numpy(), None if coefficients is None else coefficients.cpu().numpy()


class VerifiedLibrary(TorchLibrary):
    """A TorchLibrary for devices whose results are checked, and redone on the processor where they are wrong.

    Batched solvers on graphics cards may return wrong vectors without an error (pytorch issue 192483).
    redone: matrices solved again so far.
    """

    def __init__(self, device: str):
        super().__init__(device)
        self.redone = 0

    def diagonalize(self, matrices: torch.Tensor, vectors: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Eigenvalues, and eigenvectors if asked for, with the trace, norm and residual that they must have."""
        try:
            energies, coefficients = super().diagonalize(matrices, vectors)
        except torch.linalg.LinAlgError:  # no convergence somewhere in the batch
            self.redone += len(matrices)
            return self._redo(matrices, vectors)
        wrong = ~_is_sound(matrices, energies, coefficients)
        if wrong.any():
            self.redone += int(wrong.sum())
            energies[wrong], again = self._redo(matrices[wrong], vectors)
            if coefficients is not None and again is not None:
                coefficients[wrong] = again
        return energies, coefficients

    def _redo(self, matrices: torch.Tensor, vectors: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        logger.warning("%d matrices were solved wrongly by %s and are solved again on the processor", len(matrices), self.device)
        energies, coefficients = TorchLibrary().diagonalize(matrices.cpu(), vectors)
        return energies.to(self.device), None if coefficients is None else coefficients.to(self.device)


def _is_sound(matrices: torch.Tensor, energies: torch.Tensor, coefficients: torch.Tensor | None) -> torch.Tensor:
    """(b,) whether sum E = tr A, sum E^2 = |A|^2 (of the lower triangle, which alone was read), and A c = E c."""
    lower = torch.tril(matrices, -1)
    diagonal = torch.diagonal(matrices, dim1=-2, dim2=-1).real
    squared = 2 * lower.abs().square().sum(dim=(-2, -1)) + diagonal.square().sum(dim=-1)
    scale = squared.sqrt() + torch.finfo(squared.dtype).tiny
    # The sum of n rounding errors of the size of the norm; NaN compares as wrong.
    trace = (energies.sum(dim=-1) - diagonal.sum(dim=-1)).abs() <= VERIFIED * scale * energies.shape[-1] ** 0.5
    sound = trace & ((energies.square().sum(dim=-1) - squared).abs() <= VERIFIED * squared + torch.finfo(squared.dtype).tiny)
    if coefficients is not None:
        whole = lower + lower.mH + torch.diag_embed(diagonal).to(lower.dtype)
        residual = whole @ coefficients - coefficients * energies[:, None, :]
        unitary = coefficients.mH @ coefficients - torch.eye(energies.shape[-1], dtype=lower.dtype, device=lower.device)
        sound &= torch.linalg.vector_norm(residual, dim=(-2, -1)) <= VERIFIED * scale
        sound &= torch.linalg.vector_norm(unitary, dim=(-2, -1)) <= VERIFIED * energies.shape[-1]
    return sound


def _reduce(h: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """L^-1 H L^-+, (b, N, N), by halves of the rows as in LAPACK's hegst: its first half, then the coupling, then the rest."""
    n = h.shape[-1]
    if n <= HALVED_ABOVE:
        half = torch.linalg.solve_triangular(factor, h, upper=False)
        return torch.linalg.solve_triangular(factor.mH, half, upper=True, left=False)
    first, rest = slice(None, n // 2), slice(n // 2, None)
    reduced = torch.empty_like(h)
    reduced[:, first, first] = _reduce(h[:, first, first], factor[:, first, first])
    lower = factor[:, rest, first]
    coupling = torch.linalg.solve_triangular(factor[:, first, first].mH, h[:, rest, first], upper=True, left=False)
    correction = lower @ reduced[:, first, first] / 2
    coupling -= correction
    product = coupling @ lower.mH
    coupling -= correction
    reduced[:, rest, first] = torch.linalg.solve_triangular(factor[:, rest, rest], coupling, upper=False)
    reduced[:, first, rest] = reduced[:, rest, first].mH
    reduced[:, rest, rest] = _reduce(h[:, rest, rest] - product - product.mH, factor[:, rest, rest])
    return reduced


def _smallest_eigenvalue(factor: torch.Tensor) -> np.ndarray:
    """Estimate, from above, of the smallest eigenvalue of L L^+ by inverse iteration; factor (b, N, N)."""
    start = np.random.default_rng(0).normal(size=(factor.shape[-1], 1))
    vector = torch.from_numpy(start / np.linalg.norm(start)).to(factor).expand(len(factor), -1, -1)
    growth = torch.ones(len(factor), 1, 1, dtype=torch.float64, device=factor.device)
    for _ in range(INVERSE_STEPS):
        half = torch.linalg.solve_triangular(factor, vector, upper=False)
        vector = torch.linalg.solve_triangular(factor.mH, half, upper=True)
        growth = torch.linalg.vector_norm(vector, dim=(-2, -1), keepdim=True)
        vector = vector / growth
    return np.nan_to_num(1 / growth[:, 0, 0].cpu().numpy(), nan=-np.inf)
