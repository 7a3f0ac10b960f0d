"""Density and number of states of simplices of k-points with linear energies: segments, triangles, tetrahedra.

The part of a simplex below E is, by inclusion and exclusion, a sum of cones: N(E) = sum_j a_j (E - e_j)^n over the corners
below E, a_j = prod_c 1 / (e_c - e_j). A cone is one power of E from its corner on, so its coefficients, about the first
energy of a block of the grid, are added where it begins and summed up from there: no simplex costs more for the energies it
covers. The terms of the sum cancel where corners are close or the simplex is narrow. There N(E) is found energy by energy
from its derivative, the B-spline M(E; e_0, ..., e_n) (Curry, Schoenberg, J. Analyse Math. 17, 71 (1966)), by a recurrence
whose terms are all positive.
"""

from itertools import combinations
from math import comb

import numpy as np

# Energies at least that share an origin for the powers of cones.
SMALLEST_BLOCK = 16
# By how much the terms of a sum of cones may exceed the sum: their rounding errors of 1e-16 become as much larger.
CANCELLATION = 1e4


def add_simplices(found: np.ndarray, e: np.ndarray, first: np.ndarray, weights: np.ndarray | None, points, pointwise: bool):
    """Add the states below ``points`` (G,), ascending, of simplices to ``found`` (P, G); pointwise: their density at the points.

    e (n + 1, T) eV: energies at the corners; first (n + 1, T): number of points below each; weights (n + 1, T, P) at the
    corners, None for one.
    """
    complete = first.max(axis=0)
    covered = complete - first.min(axis=0)
    inside = np.nonzero(covered)[0]
    # Blocks as long as a usual simplex, so that it has parts of two of them.
    size = max(SMALLEST_BLOCK, int(covered.sum() / max(1, len(inside))))
    block_ends = np.minimum(np.arange(size, len(points) + size, size), len(points)) - 1
    width = (points[block_ends] - points[::size]).max()
    factors = _find_factors(e[:, inside])
    benign = _find_cancellation(e[:, inside], factors, width, weights is not None) <= CANCELLATION
    cones, others = inside[benign], inside[~benign]
    # Cones go on up to the end of the block.
    complete[cones] = np.minimum((complete[cones] // size + 1) * size, len(points))
    if not pointwise:
        _add_complete(found, complete, None if weights is None else weights.mean(axis=0))
    chosen = [(e[:, part], first[:, part], None if weights is None else weights[:, part]) for part in (cones, others)]
    if len(cones):
        _add_cones(found, *chosen[0], points, pointwise, factors[:, benign], size)
    if len(others):
        _add_splines(found, *chosen[1], points, pointwise)


def _add_complete(found: np.ndarray, first: np.ndarray, weights: np.ndarray | None):
    """Add simplices that lie below the points from ``first`` (T,) on as a whole; weights (T, P)."""
    n_points = found.shape[1]
    for p, row in enumerate(found):
        row += np.cumsum(np.bincount(first, None if weights is None else weights[:, p], minlength=n_points + 1)[:n_points])


def _find_factors(e: np.ndarray) -> np.ndarray:
    """a_j = prod_c 1 / (e_c - e_j) of each corner, (n + 1, T); infinite where corners have the same energy."""
    products = np.ones_like(e)
    for j, c in combinations(range(len(e)), 2):
        difference = e[c] - e[j]
        products[j] *= difference
        products[c] *= -difference
    with np.errstate(divide="ignore", over="ignore"):
        return 1 / products


def _find_cancellation(e: np.ndarray, factors: np.ndarray, width: float, weighted: bool) -> np.ndarray:
    """Largest term of the sum of cones up to ``width`` above the simplex, (T,); the sum is one there."""
    reach = e.max(axis=0) - e.min(axis=0) + width
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        largest = np.abs(factors).max(axis=0) * reach ** (len(e) - 1)
        if not weighted:
            return largest
        closest = np.min([np.abs(e[c] - e[j]) for j, c in combinations(range(len(e)), 2)], axis=0, initial=np.inf)
        return largest * reach / closest


def _add_cones(found: np.ndarray, e, first, weights, points: np.ndarray, pointwise: bool, factors: np.ndarray, size: int):
    """Add simplices as cones with ``factors`` (n + 1, T), up to the end of the block of ``size`` points where they are complete.

    The mean weight on the cut x above corner j is that of its vertices: w_j + (x / n) sum_c (w_c - w_j) / (e_c - e_j), and
    below the cut that with n + 1 for n.
    """
    starts = points[::size]
    last = np.minimum(first.max(axis=0), len(points) - 1) // size
    owner, block = _list_pairs(first.ravel() // size, np.tile(last + 1, len(e)))
    begin = np.maximum(first.ravel()[owner], block * size)
    distance = starts[block] - e.ravel()[owner]
    degree = len(e) - 1
    powers = [np.ones_like(distance)]
    for _ in range(degree + 1):
        powers.append(powers[-1] * distance)
    from_start = points - np.repeat(starts, size)[: len(points)]
    for p, row in enumerate(found):
        # Powers of x and their coefficients (n + 1, T).
        terms = {degree: factors} if weights is None else _weigh_cones(e, factors, weights[:, :, p])
        if pointwise:
            terms = {power - 1: power * factor for power, factor in terms.items()}
        taken = {power: factor.ravel()[owner] for power, factor in terms.items()}
        values = np.zeros(len(points))
        for k in range(max(taken), -1, -1):
            steps = sum(comb(power, k) * factor * powers[power - k] for power, factor in taken.items() if power >= k)
            sums = np.cumsum(np.bincount(begin, steps, len(starts) * size).reshape(-1, size), axis=1).ravel()
            values = values * from_start + sums[: len(points)]
        row += values


def _weigh_cones(e: np.ndarray, factors: np.ndarray, weights: np.ndarray) -> dict[int, np.ndarray]:
    """Powers of x, and their coefficients (n + 1, T), in the states of each cone with weights (n + 1, T) at the corners."""
    degree = len(e) - 1
    slopes = [
        sum((weights[c] - weights[j]) / (e[c] - e[j]) for c in range(degree + 1) if c != j) / (degree + 1)
        for j in range(degree + 1)
    ]
    return {degree: factors * weights, degree + 1: factors * slopes}


def _add_splines(found: np.ndarray, e: np.ndarray, first: np.ndarray, weights, points: np.ndarray, pointwise: bool):
    """Add simplices at each energy inside them."""
    _sort_corners(e, first, *([] if weights is None else [weights]))
    below = np.zeros((len(found), e.shape[1]))
    for interval in range(len(e) - 1):
        length = e[interval + 1] - e[interval]
        polynomials = _find_densities(e, weights, interval)
        if pointwise:
            polynomials /= np.where(length > 0, length, 1.0)
        else:
            polynomials /= np.arange(1, polynomials.shape[1] + 1)[:, None]
            polynomials = np.concatenate([below[:, None], polynomials], axis=1)
            below = polynomials.sum(axis=1)
        owner, point = _list_pairs(first[interval], first[interval + 1])
        u = (points[point] - e[interval, owner]) / length[owner]
        for row, coefficients in zip(found, polynomials, strict=True):
            values = coefficients[-1, owner]
            for coefficient in coefficients[-2::-1]:
                values = values * u + coefficient[owner]
            row += np.bincount(point, values, len(points))


def _sort_corners(e: np.ndarray, *others: np.ndarray):
    """Sort the corners (n + 1, T) of each simplex by energy, and the others (n + 1, T, ...) alike; in place."""
    for last in range(len(e) - 1, 0, -1):
        for a in range(last):
            swapped = np.nonzero(e[a] > e[a + 1])[0]
            for values in (e, *others):
                values[a, swapped], values[a + 1, swapped] = values[a + 1, swapped], values[a, swapped]


def _find_densities(e: np.ndarray, weights: np.ndarray | None, interval: int) -> np.ndarray:
    """The density between the corners number ``interval`` and the next, times the distance of these: (P, degree + 1, T).

    Coefficients in rising powers of u, 0 at the one corner and 1 at the other. The density weighted with the barycentric
    coordinate of corner i is M(E; e_0, ..., e_i, e_i, ..., e_n) / (n + 1), with a knot that counts twice.
    """
    if weights is None:
        return np.stack(_find_spline(list(e), interval))[None]
    twice = [_find_spline([*e[: c + 1], *e[c:]], interval + (c <= interval)) for c in range(len(e))]
    return np.einsum("ctp,cdt->pdt", weights, np.array(twice)) / len(e)


def _find_spline(knots: list[np.ndarray], interval: int) -> list[np.ndarray]:
    """Coefficients (T,) of M(E; knots) on an interval, times its length, zero for no length; knots ascending, (T,) each.

    M(E; k_i ... k_j) = q / (q - 1) [(E - k_i) M(E; k_i ... k_j-1) + (k_j - E) M(E; k_i+1 ... k_j)] / (k_j - k_i), q = j - i.
    """
    start, length = knots[interval], knots[interval + 1] - knots[interval]
    order = len(knots) - 1
    # Of the splines over some of the knots, by their first, those that are not zero on the interval; without the factors q.
    splines = {interval: [(length > 0).astype(float)]}
    for span in range(2, order + 1):
        longer = {}
        for i in range(max(0, interval + 1 - span), min(interval, order - span) + 1):
            width = knots[i + span] - knots[i]
            width = np.where(width > 0, width, 1.0)
            slope = length / width
            parts = []
            if i in splines:
                parts.append(_multiply(splines[i], (start - knots[i]) / width, slope))
            if i + 1 in splines:
                parts.append(_multiply(splines[i + 1], (knots[i + span] - start) / width, -slope))
            longer[i] = [sum(coefficients) for coefficients in zip(*parts, strict=True)]
        splines = longer
    return [order * coefficient for coefficient in splines[0]]


def _multiply(polynomial: list[np.ndarray], constant: np.ndarray, slope: np.ndarray) -> list[np.ndarray]:
    """Coefficients of a polynomial times (constant + slope u)."""
    middle = [constant * b + slope * a for a, b in zip(polynomial[:-1], polynomial[1:], strict=True)]
    return [constant * polynomial[0], *middle, slope * polynomial[-1]]


def _list_pairs(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a row t and a number from first[t] to last[t] - 1."""
    count = last - first
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) + (first - np.cumsum(count) + count)[owner]
