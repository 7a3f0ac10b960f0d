"""Minima of bands between the k-points of a mesh: where a search may start, and the search itself."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

# Fractions of the reciprocal vectors: below this a step is lost in the rounding of the energies.
FINEST_STEP = 1e-10
# Energies that differ by less are equal: rounding does not choose between equivalent valleys.
ROUNDING = 1e-9  # eV
# Valleys that are searched at most, the lowest on the mesh first.
MOST_VALLEYS = 6


def find_neighbours(cell, size, along) -> np.ndarray:
    """(D, 3) int: the D shortest steps, in units of the mesh, that lead from a k-point to all others.

    cell (3, 3) Angstrom, rows; size (3,) of the mesh; along (3,) bool: the D axes to step along. In a skew cell the axes
    of the mesh are long and nearly parallel: a search along them creeps through its valleys, or gives up too early.
    """
    along = np.asarray(along, dtype=bool)
    vectors = np.linalg.pinv(np.asarray(cell, dtype=float)[along]).T / np.asarray(size)[along, None]
    steps = np.zeros((len(vectors), 3), dtype=int)
    steps[:, along] = np.eye(len(vectors), dtype=int)
    shorter = True
    while shorter:
        shorter = False
        for i, others in itertools.product(range(len(vectors)), itertools.product((-1, 0, 1), repeat=len(vectors))):
            change = np.where(np.arange(len(vectors)) == i, 0, others)
            trial = vectors[i] + change @ vectors
            if trial @ trial < vectors[i] @ vectors[i] * (1 - ROUNDING):
                vectors[i], steps[i], shorter = trial, steps[i] + change @ steps, True
    return steps


def find_valleys(values: np.ndarray, equivalent: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Numbers of the points of a periodic mesh from which the lowest minimum may be reached, the lowest first.

    values (n1, n2, n3) on the mesh; equivalent (n1 n2 n3,): of points with one number one is enough; neighbours: as
    find_neighbours gives them. A valley is a point without lower neighbours. Off the mesh it is deeper, in a paraboloid by
    up to a quarter of the largest rise to a neighbour, in a cone by up to the whole; those still too high then are left out.
    """
    around = np.array([np.roll(values, shift, axis=(0, 1, 2)) for shift in (_corners(len(neighbours)) @ neighbours).tolist()])
    rise = around.max(axis=0) - values
    valley = (values <= around.min(axis=0) + ROUNDING) & (values - rise <= values.min() + ROUNDING)
    points = np.nonzero(valley.ravel())[0]
    points = points[np.argsort(values.ravel()[points], kind="stable")]
    first = np.unique(equivalent[points], return_index=True)[1]
    return points[np.sort(first)][:MOST_VALLEYS]


def find_minima(
    functions: Callable[[np.ndarray], np.ndarray], starts: Sequence[np.ndarray], steps: np.ndarray, accuracy: float
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest minimum (F, 3) of each of F functions next to one of its starts, and its value (F,).

    functions: kpts (K, 3) -> (K, F) eV; starts: for each function (S, 3), S > 0; steps (D, 3): from a start to
    its neighbours. A pattern search: it needs no derivatives, and so ends
    in a Dirac cone as well as on a smooth edge. It ends where no step changes the value by more than ``accuracy`` eV;
    a valley that cannot become the lowest by steps like its last is given up.
    On a crease, where two bands cross along a line (nodal-line semimetals), it may end some meV above the lowest point of
    the line: no step goes along it, and all others rise. A finer mesh starts nearer to it.
    """
    offsets = _corners(len(steps)) @ steps
    middle = len(offsets) // 2
    of = np.repeat(np.arange(len(starts)), [len(points) for points in starts])
    centers, scales, found = np.concatenate(starts), np.ones(len(of)), np.full(len(of), np.inf)
    searches = np.arange(len(of))
    # Steps overlap, and the edges of several bands are often one valley: no k-point is solved twice.
    known: dict[tuple, np.ndarray] = {}
    while len(searches):
        trials = centers[searches, None] + offsets * scales[searches, None, None]
        keys = [tuple(k) for k in np.round(trials.reshape(-1, 3), 12).tolist()]
        new = list(dict.fromkeys(key for key in keys if key not in known))
        if new:
            known.update(zip(new, functions(np.array(new)), strict=True))
        every = np.array([known[key] for key in keys]).reshape(len(searches), len(offsets), len(starts))
        values = np.take_along_axis(every, of[searches][:, None, None], axis=2)[:, :, 0]
        rows, best = np.arange(len(searches)), values.argmin(axis=1)
        # Stay unless somewhere is really lower, else rounding makes the search wander.
        best = np.where(values[rows, best] < values[:, middle] - 1e-12, best, middle)
        change = np.ptp(values, axis=1)
        centers[searches], found[searches] = trials[rows, best], values[rows, best]
        # In a cone the energy changes with the step, on a smooth edge with its square: no one step is fine enough for both.
        scales[searches[(best == middle) & (change > accuracy)]] /= 2
        lowest = np.array([found[of == f].min() for f in range(len(starts))])
        hopeful = found[searches] - change <= lowest[of[searches]]
        searches = searches[(change > accuracy) & (scales[searches] * np.abs(steps).max() > FINEST_STEP) & hopeful]
    winners = [int(np.nonzero((of == f) & (found <= low + ROUNDING))[0][0]) for f, low in enumerate(lowest)]
    return centers[winners], found[winners]


def _corners(dimension: int) -> np.ndarray:
    """(3^D, D): all combinations of -1, 0 and 1; the zeros stand in the middle."""
    return np.array(list(itertools.product((-1, 0, 1), repeat=dimension)))
