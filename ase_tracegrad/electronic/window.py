"""solve_window: a few states around an energy of a large system, by sparse shift-invert."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, SuperLU, eigsh, splu
from tqdm.auto import tqdm

from ..blocks import BlockMatrix
from .bloch import BlochSum, check_kpts

# The shift is moved by this much if it hits an eigenvalue, eV.
NUDGE = 1e-4


class WindowError(RuntimeError):
    """The iteration did not find the states asked for."""


@dataclass(frozen=True, eq=False)
class Window:
    """The states next to an energy: energies (K, n) eV, ascending; coefficients (K, N, n) or None; residuals (K,).

    residuals: largest |H c - E S c| at each k, eV; coefficients have c^+ S c = 1.
    """

    energies: np.ndarray
    coefficients: np.ndarray | None
    residuals: np.ndarray


def solve_window(
    hamiltonian: BlockMatrix,
    overlap: BlockMatrix | None,
    kpts,
    center: float,
    n_states: int,
    *,
    eigenvectors: bool = False,
    progress: bool = False,
) -> Window:
    """The ``n_states`` states nearest to ``center`` (eV) at kpts (K, 3), without any dense matrix.

    Lanczos iteration on (H - center S)^-1, factorized by SuperLU. Pays above some 2000 orbitals, more so for
    slabs and chains than for bulk; below, solve_bands is faster and gives all states. Raises BlochError as
    solve_bands does, ValueError for more states than the matrix has, WindowError if the iteration fails.
    """
    sums, kpts = BlochSum(hamiltonian, overlap), check_kpts(kpts)
    if not np.isfinite(center):
        raise ValueError(f"the center of the window is an energy in eV, found {center}")
    if not 0 < n_states < sums.n_orbitals - 1:
        raise ValueError(
            f"a window holds between 1 and {sums.n_orbitals - 2} of {sums.n_orbitals} states, found {n_states}; "
            "solve_bands gives all of them"
        )
    energies, coefficients, residuals = [], [], []
    for k in tqdm(kpts, desc="k-points", delay=2, disable=None if progress else True):
        h, s = sums.build_sparse(k)
        e, c = _solve_nearest(h, s, center, n_states)
        energies.append(e)
        residuals.append(float(np.abs(h @ c - (s @ c) * e).max()))
        if eigenvectors:
            coefficients.append(c)
    return Window(np.array(energies), np.array(coefficients) if eigenvectors else None, np.array(residuals))


def _solve_nearest(h: csc_array, s: csc_array, center: float, n_states: int) -> tuple[np.ndarray, np.ndarray]:
    factor, shift = _factorize(h, s, center)
    inverse = LinearOperator(h.shape, matvec=factor.solve, dtype=complex)
    # A fixed start makes the result reproducible; it must not be orthogonal to any state, so it is random.
    start = np.random.default_rng(0).normal(size=h.shape[0]).astype(complex)
    try:
        energies, vectors = eigsh(h, k=n_states, M=s, sigma=shift, OPinv=inverse, v0=start, tol=1e-10)
    except ArpackNoConvergence as error:
        raise WindowError(
            f"only {len(error.eigenvalues)} of {n_states} states around {center} eV converged: ask for fewer"
        ) from None
    order = np.argsort(energies)
    vectors = vectors[:, order]
    norms = np.sqrt(np.einsum("in,in->n", vectors.conj(), s @ vectors).real)
    return energies[order], vectors / norms


def _factorize(h: csc_array, s: csc_array, center: float) -> tuple[SuperLU, float]:
    """LU factors of H - shift S; the shift is the center, or next to it where that is an eigenvalue."""
    for shift in (center, center + NUDGE):
        try:
            # The pattern is symmetric, so a symmetric ordering with weak pivoting keeps the factors small.
            options = {"SymmetricMode": True}
            return splu((h - shift * s).tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options=options), shift
        except RuntimeError as error:
            if "singular" not in str(error):
                raise
    raise WindowError(f"H - {center} eV S is singular: some orbital has neither energy nor norm")
