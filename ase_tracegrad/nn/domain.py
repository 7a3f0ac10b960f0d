"""Where a model may be trusted: element pairs, distances and surroundings of atoms seen in training.

A bond that is stretched or broken shows in the distances: between the bonds and the next neighbours of the training lies a gap
in which there is no distance, and no atom is far from all others.

The surroundings of an atom are described in windows of distance: how many neighbours of each element stand there, and how
their directions are spread (eigenvalues of sum of r r^T, length of sum of r, unit vectors r). Training gives a range of
every one of these numbers; a layer at 3.35 Angstrom, a vacancy, an edge or a bend puts some atom outside.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..graph import NeighborGraph
from ..symbols import symbol_of

MARGIN = 0.05  # Angstrom; distances this far below the shortest in training are still accepted silently
GAP = 0.3  # Angstrom; a range of distances as wide as this in which training has none is one that the model knows nothing of
STRETCH = 0.1  # Angstrom; how far a distance may be inside of such a gap, or beyond the farthest nearest neighbour of the training
WINDOW = 0.5  # Angstrom; distance of the windows, and width of the Gaussians that share out the neighbours among them
FIRST_WINDOW = 1.0  # Angstrom
# How far outside of the training range a number may be: a part of the range, and a part of one neighbour.
RELATIVE_MARGIN, ABSOLUTE_MARGIN = 0.3, 0.1


class UnsupportedStructureError(ValueError):
    """The model holds nothing for an element or element pair of this structure."""


def describe_domain(graphs: Iterable[NeighborGraph], elements: Sequence[int], cutoff: float) -> dict[str, Any]:
    """Facts of the training structures, JSON-able; elements: atomic numbers; cutoff of the graphs, Angstrom.

    'pairs': for each element pair the 'shortest' distance and the 'gaps' between the distances, [from, to], Angstrom; 'nearest':
    for each element the largest distance of an atom to its nearest neighbour; 'surroundings': for each element, for each
    neighbouring element, 'low' and 'high' (windows, 5) of number, three eigenvalues and length.
    """
    pairs: dict[str, np.ndarray] = {}
    nearest: dict[str, float] = {}
    surroundings: dict[str, dict[str, dict]] = {}
    for graph in graphs:
        for key, distances in _distances(graph).items():
            pairs[key] = _thin(np.concatenate([pairs.get(key, np.zeros(0)), distances]))
        for symbol, _, reach in _nearest(graph):
            nearest[symbol] = max(nearest.get(symbol, 0.0), reach)
        for center, neighbour, _, described in _surroundings(graph, elements, cutoff):
            low, high = described.min(axis=0), described.max(axis=0)
            seen = surroundings.setdefault(center, {}).get(neighbour)
            if seen is not None:
                low, high = np.minimum(low, seen["low"]), np.maximum(high, seen["high"])
            surroundings[center][neighbour] = {"low": low, "high": high}
    rounded = {
        center: {neighbour: {name: np.round(limit, 4).tolist() for name, limit in seen.items()} for neighbour, seen in rows.items()}
        for center, rows in surroundings.items()
    }
    limits = {key: {"shortest": float(seen[0]), "gaps": _find_gaps(seen, cutoff)} for key, seen in sorted(pairs.items())}
    reaches = {symbol: round(reach, 4) for symbol, reach in nearest.items()}
    return {"pairs": limits, "nearest": reaches, "surroundings": rounded}


def check_domain(graph: NeighborGraph, elements: Sequence[int], cutoff: float, domain: dict[str, Any]) -> list[str]:
    """Reasons to distrust a prediction for this structure; empty if it looks like the training data."""
    reasons = []
    pairs = domain.get("pairs", {})
    for key, distances in _distances(graph).items():
        if key not in pairs:
            raise UnsupportedStructureError(
                f"the model never saw {key} pairs; it was trained on: {', '.join(sorted(pairs)) or 'nothing'}"
            )
        if distances[0] < pairs[key]["shortest"] - MARGIN:
            reasons.append(f"{key} distance of {distances[0]:.3f} A, shortest in training {pairs[key]['shortest']:.3f} A")
        reasons += _compare_gaps(key, distances, pairs[key].get("gaps", []))
    for symbol, atom, reach in _nearest(graph):
        farthest = domain.get("nearest", {}).get(symbol, np.inf)
        if reach > farthest + STRETCH:
            reasons.append(f"{symbol} atom {atom}: nearest neighbour at {reach:.3f} A, at most {farthest:.3f} A in training")
    for center, neighbour, atoms, described in _surroundings(graph, elements, cutoff):
        seen = domain.get("surroundings", {}).get(center, {}).get(neighbour)
        if seen is not None:
            reasons += _compare(center, neighbour, atoms, described, np.array(seen["low"]), np.array(seen["high"]))
    return reasons


def _compare(center: str, neighbour: str, atoms, described, low, high) -> list[str]:
    """The largest deviation, in words; one reason per pair of elements is enough."""
    margin = RELATIVE_MARGIN * (high - low) + ABSOLUTE_MARGIN
    excess = np.maximum(low - described, described - high) / margin
    outside = np.count_nonzero((excess > 1).any(axis=(1, 2)))
    if not outside:
        return []
    counted = excess[:, :, 0]
    too_many = counted.max() > 1  # a number of neighbours says more than a direction
    atom, window = np.unravel_index(np.argmax(counted if too_many else excess.max(axis=2)), counted.shape)
    where = f"{center} atom {atoms[atom]}" + (f" and {outside - 1} more" if outside > 1 else "")
    what = f"{neighbour} neighbours around {FIRST_WINDOW + WINDOW * window:.1f} A"
    if too_many:
        found, least, most = (table[..., window, 0] for table in (described[atom], low, high))
        return [f"{where}: {found:.1f} {what}, {least:.1f} to {most:.1f} in training"]
    return [f"{where}: {what} stand in directions unlike those in training"]


def _surroundings(
    graph: NeighborGraph, elements: Sequence[int], cutoff: float
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """For every element and neighbouring element: their symbols, the atoms (A,), and (A, windows, 5) of each atom."""
    n = graph.n_onsite
    numbers, pairs, vectors = graph.structure.numbers, graph.pairs[n:], graph.vectors[n:]
    distance = np.linalg.norm(vectors, axis=1)
    centers = np.arange(FIRST_WINDOW, cutoff - WINDOW, WINDOW)  # where no neighbour is lost at the cut-off
    share = np.exp(-0.5 * ((distance[:, None] - centers) / (0.5 * WINDOW)) ** 2)
    unit = vectors / distance[:, None]
    first, second = np.triu_indices(3)
    moments = np.concatenate([np.ones((len(unit), 1)), unit, unit[:, first] * unit[:, second]], axis=1)
    for neighbour in elements:
        rows = np.nonzero(numbers[pairs[:, 1]] == neighbour)[0]
        gather = csr_array((np.ones(len(rows)), (pairs[rows, 0], np.arange(len(rows)))), shape=(n, len(rows)))
        weighted = (share[rows, :, None] * moments[rows, None, :]).reshape(len(rows), len(centers) * moments.shape[1])
        sums = (gather @ weighted).reshape(n, len(centers), 10)
        tensor = np.zeros((n, len(centers), 3, 3))
        tensor[..., first, second] = tensor[..., second, first] = sums[..., 4:]
        tilt = np.linalg.norm(sums[..., 1:4], axis=-1)
        described = np.concatenate([sums[..., :1], np.linalg.eigvalsh(tensor), tilt[..., None]], axis=-1)
        for z in np.unique(numbers).tolist():
            atoms = np.nonzero(numbers == z)[0]
            yield symbol_of(z), symbol_of(neighbour), atoms, described[atoms]


def _distances(graph: NeighborGraph) -> dict[str, np.ndarray]:
    """Of every pair of elements that are near each other, 'H-C': their distances in ascending order, Angstrom."""
    n = graph.n_onsite
    numbers = np.sort(graph.structure.numbers[graph.pairs[n:]], axis=1)
    distance = np.linalg.norm(graph.vectors[n:], axis=1)
    types, index = np.unique(numbers, axis=0, return_inverse=True)
    names = [f"{symbol_of(a)}-{symbol_of(b)}" for a, b in types.tolist()]
    return {name: np.sort(distance[index.ravel() == k]) for k, name in enumerate(names)}


def _nearest(graph: NeighborGraph) -> Iterator[tuple[str, int, float]]:
    """For every element: its symbol, and of its atom that is farthest from its nearest neighbour the index and that distance.

    Atoms without a neighbour within the cut-off have none; their surroundings tell.
    """
    n = graph.n_onsite
    reach = np.full(n, np.inf)
    np.minimum.at(reach, graph.pairs[n:, 0], np.linalg.norm(graph.vectors[n:], axis=1))
    reach[np.isinf(reach)] = 0.0
    for z in np.unique(graph.structure.numbers).tolist():
        atoms = np.nonzero(graph.structure.numbers == z)[0]
        atom = int(atoms[np.argmax(reach[atoms])])
        yield symbol_of(z), atom, float(reach[atom])


def _thin(distances: np.ndarray) -> np.ndarray:
    """In ascending order, the first and the last in every hundredth of an Angstrom: all that gaps ask for, in little memory."""
    distances = np.sort(distances)
    bins = np.floor(distances * 100)
    changes = np.diff(bins) != 0
    return distances[np.concatenate([[True], changes]) | np.concatenate([changes, [True]])]


def _find_gaps(distances: np.ndarray, cutoff: float) -> list[list[float]]:
    """Ranges [from, to] wider than GAP without a distance, up to the cut-off; distances in ascending order."""
    ends = np.append(distances, cutoff)
    wide = np.nonzero(np.diff(ends) > GAP)[0]
    return np.round(np.stack([ends[wide], ends[wide + 1]], axis=1), 4).tolist()


def _compare_gaps(key: str, distances: np.ndarray, gaps: list[list[float]]) -> list[str]:
    """The distance that lies deepest in a gap of the training, in words; distances in ascending order."""
    worst = (STRETCH, "")
    for start, end in gaps:
        inside = distances[np.searchsorted(distances, start) : np.searchsorted(distances, end)]
        depth = np.minimum(inside - start, end - inside)
        if depth.max(initial=0.0) > worst[0]:
            deepest = int(np.argmax(depth))
            said = f"{key} distance of {inside[deepest]:.3f} A, none from {start:.3f} to {end:.3f} A in training"
            worst = (float(depth[deepest]), said)
    return [worst[1]] if worst[1] else []
