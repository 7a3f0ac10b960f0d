"""First and second derivatives of the bands: velocities and effective masses, from dH/dk and dS/dk."""

import numpy as np

from ..units import BOHR, HARTREE
from .bloch import BlochSum, check_kpts
from .eigen import solve_bloch
from .projections import iterate_states, join_bands

HBAR = 0.6582119569  # eV fs: dE/dk in eV Angstrom, divided by it, is a velocity in Angstrom / fs
HBAR2_OVER_MASS = HARTREE * BOHR**2  # hbar^2 / (electron mass), eV Angstrom^2
# Levels closer than this are degenerate: single states of them, and so their curvature, are not defined, eV.
DEGENERACY = 1e-6


def compute_velocities(sums: BlochSum, kpts, cell) -> tuple[np.ndarray, np.ndarray]:
    """Energies (K, n) eV and dE/dk (K, n, 3) along x, y, z, eV Angstrom (divide by HBAR for Angstrom / fs).

    cell (3, 3) Angstrom, rows. dE/dk = c^+ (dH/dk - E dS/dk) c. Of degenerate levels only the sum is defined.
    """
    energies, slopes = [], []
    for solution, chunk, _ in iterate_states(sums, kpts):
        c = solution.coefficients
        dh, ds = sums.derivative(chunk, cell)
        slope = np.einsum("kin,akij,kjn->kna", c.conj(), dh, c, optimize=True).real
        if ds is not None:
            slope -= solution.energies[:, :, None] * np.einsum("kin,akij,kjn->kna", c.conj(), ds, c, optimize=True).real
        energies.append(solution.energies)
        slopes.append(slope)
    joined, joined_slopes = join_bands(energies, slopes)
    return joined, joined_slopes


def compute_inverse_masses(sums: BlochSum, kpt, cell) -> tuple[np.ndarray, np.ndarray]:
    """Energies (n,) eV and inverse effective-mass tensors (n, 3, 3), in 1 / (electron mass), at one k-point (3,).

    (1/m)_ab = d2E/dk_a dk_b / (hbar^2 / m_e), by second-order perturbation theory of H c = E S c:
    c_n^+ (H_ab - E S_ab) c_n - E_a S_b,nn - E_b S_a,nn + 2 Re sum_m A_nm B_mn / (E_n - E_m), A = H_a - E_n S_a.
    Levels that are degenerate at this k have no tensor of their own; theirs is NaN.
    """
    kpts = check_kpts(kpt)
    if len(kpts) != 1:
        raise ValueError(f"effective masses are computed at one k-point, found {len(kpts)}")
    solution = solve_bloch(sums, kpts, eigenvectors=True)
    assert solution.coefficients is not None
    energies, c = solution.energies[0], solution.coefficients[0]
    first, second = (_in_eigenstates(sums.derivative(kpts, cell, order), c) for order in (1, 2))
    (dh, ds), (d2h, d2s) = first, second
    n = len(energies)
    # coupling[a, n, m] = c_n^+ (H_a - E_n S_a) c_m, and the same with c_m on the left.
    coupling = dh - energies[:, None] * ds
    slopes = np.einsum("ann->an", coupling).real
    gaps = energies[:, None] - energies[None, :]
    degenerate = np.abs(gaps) < DEGENERACY
    with np.errstate(divide="ignore"):
        inverse = np.where(degenerate, 0.0, 1 / gaps)
    curvature = np.einsum("abnn->nab", d2h - energies[:, None] * d2s).real
    norms = np.einsum("ann->na", ds).real
    crossed = np.einsum("an,nb->nab", slopes, norms)
    curvature -= crossed + crossed.transpose(0, 2, 1)
    # c_m^+ (H_b - E_n S_b) c_n is the conjugate of c_n^+ (H_b - E_n S_b) c_m.
    curvature += 2 * np.einsum("anm,bnm,nm->nab", coupling, coupling.conj(), inverse, optimize=True).real
    curvature[(degenerate & ~np.eye(n, dtype=bool)).any(axis=1)] = np.nan
    return energies, curvature / HBAR2_OVER_MASS


def _in_eigenstates(derivatives, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """c^+ dM c for H and S, (..., n, n); the derivative of a missing overlap is zero."""
    h, s = derivatives
    h = c.conj().T @ h[..., 0, :, :] @ c
    return h, np.zeros_like(h) if s is None else c.conj().T @ s[..., 0, :, :] @ c
