"""solve_nearest: the states next to an energy at one k-point, dense: all energies, but only the vectors asked for.

H is reduced to tridiagonal form once; of that, all eigenvalues and a few eigenvectors cost little. All
vectors would cost three times the energies.
"""

import numpy as np
from scipy.linalg import eigh_tridiagonal, eigvalsh_tridiagonal, lapack

from .bloch import BlochError


def solve_nearest(h: np.ndarray, s: np.ndarray | None, center: float, n_states: int) -> tuple[np.ndarray, np.ndarray]:
    """Energies (n,), ascending, and coefficients (N, n), c^+ S c = 1, of h, s (N, N), real or complex; both are overwritten.

    s None: orthonormal orbitals. Raises BlochError if S has no Cholesky factor.
    """
    real = not np.iscomplexobj(h)
    potrf, hegst, hetrd, apply_q, trtrs = (
        getattr(lapack, name)
        for name in (
            ("dpotrf", "dsygst", "dsytrd", "dormqr", "dtrtrs") if real else ("zpotrf", "zhegst", "zhetrd", "zunmqr", "ztrtrs")
        )
    )
    # LAPACK counts in columns: it gets the conjugates, without a copy.
    reduced = h.T
    if s is not None:
        factor, failed = potrf(s.T, lower=1, overwrite_a=1)
        if failed:
            raise BlochError(
                "S(k) is not positive definite to rounding: use solve_bands, which drops its modes, with hamiltonian_error="
            )
        reduced, _ = hegst(reduced, factor, lower=1, overwrite_a=1)
    n = len(reduced)
    packed, diagonal, off, tau, _ = hetrd(reduced, lower=1, lwork=64 * n, overwrite_a=1)
    first = _find_first(eigvalsh_tridiagonal(diagonal, off), center, n_states)
    energies, vectors = eigh_tridiagonal(diagonal, off, select="i", select_range=(first, first + n_states - 1))
    coefficients = vectors.astype(h.dtype, order="F")
    # The reflectors act on all rows but the first.
    turned, _, _ = apply_q("L", "N", packed[1:, :-1], tau, coefficients[1:], lwork=64 * n)
    coefficients[1:] = turned
    if s is not None:
        coefficients, _ = trtrs(factor, coefficients, lower=1, trans=1 if real else 2, overwrite_b=1)
    return energies, coefficients.conj()


def _find_first(energies: np.ndarray, center: float, n_states: int) -> int:
    """Number of the lowest of the n_states energies nearest to center."""
    ends = energies[n_states - 1 :], energies[: len(energies) - n_states + 1]
    return int(np.maximum(np.abs(ends[0] - center), np.abs(ends[1] - center)).argmin())
