"""Fermi level and occupations by electron count."""

from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import erfc, expit

Smearing = Literal["fixed", "fermi-dirac", "gaussian", "methfessel-paxton"]
SMEARINGS = ("fixed", "fermi-dirac", "gaussian", "methfessel-paxton")
# States this close to the Fermi level count as lying on it, eV.
AT_LEVEL = 1e-9


class ElectronCountError(ValueError):
    """A number of electrons that the bands cannot hold."""


def find_fermi_level(
    energies, weights, n_electrons: float, *, spin_degeneracy: int = 2, width: float = 0.0, method: Smearing = "fixed"
) -> float:
    """Energy below which ``n_electrons`` per cell find place, eV.

    energies (K, n) eV; weights (K,), sum 1; spin_degeneracy: electrons per state (2; 1 for spinors);
    width: smearing in eV (k_B T for 'fermi-dirac'), 0 with method 'fixed'.
    Where the count is met anywhere inside a gap, the middle of the gap is returned.
    Raises ElectronCountError if the bands cannot hold that many electrons.
    """
    energies, weights = _check_bands(energies, weights)
    check_electrons(n_electrons, energies.shape[1], spin_degeneracy)
    check_smearing(width, method)
    fixed = _fill_states(energies, weights, n_electrons, spin_degeneracy)
    if method == "fixed":
        return fixed

    def excess(level: float) -> float:
        occupations = compute_occupations(energies, level, spin_degeneracy=spin_degeneracy, width=width, method=method)
        return float(weights @ occupations.sum(axis=1)) - n_electrons

    if abs(excess(fixed)) < 1e-10 * max(1.0, n_electrons):
        return fixed
    # Outwards from the unsmeared level, because Methfessel-Paxton counts are not monotonic far from the root.
    reach = width
    while excess(fixed - reach) > 0 or excess(fixed + reach) < 0:
        reach *= 2
        if reach > 1e6 * width:
            raise ElectronCountError(f"no Fermi level holds {n_electrons} electrons with a smearing of {width} eV: add bands")
    return float(brentq(excess, fixed - reach, fixed + reach, xtol=1e-12))


def fill_bands(
    energies, weights, n_electrons: float, *, spin_degeneracy: int = 2, width: float = 0.0, method: Smearing = "fixed"
) -> tuple[float, np.ndarray]:
    """Fermi level (eV) and occupations (K, n) that hold n_electrons exactly; arguments as in find_fermi_level.

    With 'fixed' occupations the states at the level share equally what the states below leave.
    """
    energies, weights = _check_bands(energies, weights)
    level = find_fermi_level(energies, weights, n_electrons, spin_degeneracy=spin_degeneracy, width=width, method=method)
    occupations = compute_occupations(energies, level, spin_degeneracy=spin_degeneracy, width=width, method=method)
    if method == "fixed":
        at_level = np.abs(energies - level) < AT_LEVEL
        occupations[at_level] = 0.0
        places = float(weights @ at_level.sum(axis=1))
        if places > 0:
            share = (n_electrons - weights @ occupations.sum(axis=1)) / places
            occupations[at_level] = np.clip(share, 0.0, spin_degeneracy)
    return level, occupations


def compute_occupations(
    energies, fermi_level: float, *, spin_degeneracy: int = 2, width: float = 0.0, method: Smearing = "fixed"
) -> np.ndarray:
    """Electrons per state, (K, n), from 0 to spin_degeneracy (Methfessel-Paxton overshoots a little).

    'fixed': a step, half filled at the level itself; 'fermi-dirac': 1 / (exp(x) + 1); 'gaussian':
    erfc(x) / 2; 'methfessel-paxton': first order (Phys. Rev. B 40, 3616 (1989)); x = (E - E_F) / width.
    """
    check_smearing(width, method)
    distance = np.asarray(energies, dtype=float) - fermi_level
    if method == "fixed":
        return spin_degeneracy * np.where(np.abs(distance) < AT_LEVEL, 0.5, (distance < 0).astype(float))
    x = distance / width
    if method == "fermi-dirac":
        return spin_degeneracy * expit(-x)
    filled = erfc(x) / 2
    if method == "methfessel-paxton":
        filled = filled - x * np.exp(-(x**2)) / (2 * np.sqrt(np.pi))
    return spin_degeneracy * filled


def _fill_states(energies: np.ndarray, weights: np.ndarray, n_electrons: float, spin_degeneracy: int) -> float:
    """Fermi level at zero temperature: fill the states upwards; the middle of the gap if the count ends at one."""
    order = np.argsort(energies, axis=None)
    levels = energies.ravel()[order]
    places = spin_degeneracy * np.repeat(weights, energies.shape[1])[order]
    filled = np.cumsum(places)
    tolerance = 1e-9 * max(1.0, n_electrons)
    last = min(int(np.searchsorted(filled, n_electrons - tolerance)), len(levels) - 1)
    exactly_full = abs(filled[last] - n_electrons) <= tolerance
    if exactly_full and last + 1 < len(levels):
        return float((levels[last] + levels[last + 1]) / 2)
    return float(levels[last])


def check_electrons(n_electrons: float, n_bands: int, spin_degeneracy: int):
    """ElectronCountError unless 0 < n_electrons <= what the bands hold; ValueError for a spin degeneracy other than 1 or 2."""
    if spin_degeneracy not in (1, 2):
        raise ValueError(f"spin_degeneracy is 2, or 1 for spinors and single spin channels; found {spin_degeneracy!r}")
    if not np.isfinite(n_electrons) or n_electrons <= 0:
        raise ElectronCountError(f"expected a positive number of electrons, found {n_electrons}")
    if n_electrons > spin_degeneracy * n_bands * (1 + 1e-9):
        raise ElectronCountError(
            f"{n_electrons:g} electrons do not fit into {n_bands} bands of {spin_degeneracy} electrons each: "
            "check the electron count, or compute more bands"
        )


def check_smearing(width: float, method: str):
    """ValueError unless the method is known and its width fits it."""
    if method not in SMEARINGS:
        raise ValueError(f"unknown smearing {method!r}; choose one of {', '.join(SMEARINGS)}")
    if method == "fixed" and width != 0.0:
        raise ValueError(f"'fixed' occupations have no width, found {width} eV: choose a method such as 'fermi-dirac'")
    if method != "fixed" and not (np.isfinite(width) and width > 0):
        raise ValueError(f"{method} smearing needs a positive width in eV, found {width}")


def _check_bands(energies, weights) -> tuple[np.ndarray, np.ndarray]:
    energies, weights = np.asarray(energies, dtype=float), np.asarray(weights, dtype=float)
    if energies.ndim != 2 or weights.shape != energies.shape[:1]:
        raise ValueError(f"expected energies (K, n) and weights (K,), found {energies.shape} and {weights.shape}")
    if not np.isfinite(energies).all():
        raise ValueError("some energies are not finite")
    if (weights < 0).any() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError(f"k-point weights must not be negative and must add up to 1; they add up to {weights.sum():g}")
    return energies, weights
