"""Thermal displacements of a supercell in pairs u, -u: drawn at random, or special ones that stand for the whole ensemble."""

import itertools

import numpy as np

from .harmonic import HarmonicCrystal

METHODS = ("monte-carlo", "special")
# Correlations of atoms further apart are not fitted by the signs of special displacements: quadratic couplings are short.
REACH = 4.0  # Angstrom
# Starts of the search for signs; each ends where no single sign improves it.
STARTS = 4


def draw_displacements(crystal: HarmonicCrystal, temperature: float, n_pairs: int, *, method: str = "monte-carlo", seed: int = 0):
    """(2 n_pairs, N, 3) Angstrom at a temperature in K, quantum statistics; number 2 i + 1 is minus number 2 i.

    'monte-carlo': normal modes with Gaussian coordinates, the same for every temperature but for their widths. 'special':
    every mode at plus or minus its root mean square, signs as search_signs finds them. Pair i depends on the seed and i
    (special: on the pairs before it) alone, so that more pairs can be added.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected 'monte-carlo' or 'special', found {method!r}")
    if n_pairs < 1:
        raise ValueError(f"expected at least one pair of displacements, found {n_pairs}")
    amplitudes = crystal.amplitudes(temperature)
    if method == "monte-carlo":
        # Noise of atoms, not of modes: the modes of a degenerate level are the linear algebra library's choice.
        noise = np.array([np.random.default_rng([seed, i]).normal(size=crystal.modes.shape[1:]) for i in range(n_pairs)])
        coordinates = np.einsum("via,pia->pv", crystal.modes, noise)
    else:
        coordinates = search_signs(crystal, temperature, n_pairs, seed=seed)[0]
    displacements = np.einsum("pv,via->pia", coordinates, amplitudes)
    return np.stack([displacements, -displacements], axis=1).reshape(-1, *displacements.shape[1:])


def search_signs(crystal: HarmonicCrystal, temperature: float, n_patterns: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Signs (P, 3N) of the modes of special displacements, and what is left of their error after each pattern, (P,).

    With x_v = s_v sigma_v the mean squares of all modes are exact, and what is wrong is the correlation of different modes,
    s_v s_w sigma_v sigma_w instead of 0 (Zacharias, Giustino, Phys. Rev. B 94, 075125 (2016); Phys. Rev. Research 2, 013357
    (2020)). For a quantity that is quadratic in the displacements and the same in all cells, the correlations <u_i u_j>
    averaged over all translations decide: the signs make them, for atoms up to REACH apart and over all patterns so far,
    nearest to the exact ones. The error is their distance over their norm.
    """
    steps = 2 * crystal.amplitudes(temperature)
    first, second = _translation_classes(crystal)
    exact = np.mean([_correlations(a / 2, first, second) for a in steps], axis=0) * len(steps)
    patterns, errors, total = [], [], np.zeros_like(exact)
    for number in range(n_patterns):
        rng = np.random.default_rng([seed, number])
        target = (number + 1) * exact - total
        found = [_descend(rng.choice([-1.0, 1.0], len(steps)), steps, target, first, second) for _ in range(STARTS)]
        signs, correlations = min(found, key=lambda x: float(np.linalg.norm(x[1] - target)))
        patterns.append(signs)
        total = total + correlations
        errors.append(float(np.linalg.norm(total / (number + 1) - exact) / np.linalg.norm(exact)))
    return np.array(patterns), np.array(errors)


def _descend(signs, steps, target, first, second) -> tuple[np.ndarray, np.ndarray]:
    """Turn single signs as long as the correlations come nearer to the target; the signs and their correlations."""
    u = np.einsum("v,via->ia", signs, steps / 2)
    correlations = _correlations(u, first, second)
    best, turned, mode = float(np.linalg.norm(correlations - target)), 0, 0
    while mode - turned < len(signs):
        v, mode = mode % len(signs), mode + 1
        trial = u - signs[v] * steps[v]
        changed = _correlations(trial, first, second)
        distance = float(np.linalg.norm(changed - target))
        if distance < best * (1 - 1e-9):
            signs[v], u, correlations, best, turned = -signs[v], trial, changed, distance, mode
    return signs, correlations


def _translation_classes(crystal: HarmonicCrystal) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms up to REACH apart, (C, n_cells) each: those of one row differ by a translation of the primitive cell.

    Of a pair and its reverse one is enough; pairs at equal distance through several images of an atom count once.
    """
    n_sites = len(crystal.primitive)
    distances = crystal.supercell.get_all_distances(mic=True)
    positions = crystal.supercell.get_positions()
    inverse = np.linalg.inv(crystal.supercell.cell.array)
    # All primitive translations as permutations of cells: cell c moved by the place of cell t.
    origins = positions[::n_sites] - positions[0]

    def cell_of(points):
        fractions = (points[:, None] - origins[None]) @ inverse
        return np.abs(fractions - np.rint(fractions)).max(axis=-1).argmin(axis=1)

    moved = np.array([cell_of(origins + origin) for origin in origins])  # (t, c)
    first, second = [], []
    for i, j, t in itertools.product(range(n_sites), range(n_sites), range(len(origins))):
        reverse = int(np.nonzero(moved[t] == 0)[0][0])
        if distances[i, t * n_sites + j] < REACH and (i, j, t) <= (j, i, reverse):
            first.append(np.arange(len(origins)) * n_sites + i)
            second.append(moved[t] * n_sites + j)
    return np.array(first), np.array(second)


def _correlations(u: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(C, 3, 3): u_i u_j averaged over the translations of a pair."""
    return np.einsum("cta,ctb->cab", u[first], u[second], optimize=True) / first.shape[1]
