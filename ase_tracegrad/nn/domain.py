"""Where a model may be trusted: element pairs, distances and surroundings of atoms seen in training.

Bonds that are stretched, broken or new are found in bonds.py, distances beyond those of the training here.

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
from .bonds import check_bonds, describe_bonds

MARGIN = 0.05  # Angstrom; distances this far below the shortest in training are still accepted silently
FARTHER = 0.3  # Angstrom; distances this far beyond the longest in training are still accepted silently
WINDOW = 0.5  # Angstrom; distance of the windows, and width of the Gaussians that share out the neighbours among them
FIRST_WINDOW = 1.0  # Angstrom
# How far outside of the training range a number may be: a part of the range, and a part of one neighbour.
RELATIVE_MARGIN, ABSOLUTE_MARGIN = 0.3, 0.1


class UnsupportedStructureError(ValueError):
    """The model holds nothing for an element or element pair of this structure."""


def describe_domain(graphs: Iterable[NeighborGraph], elements: Sequence[int], cutoff: float) -> dict[str, Any]:
    """Facts of the training structures, JSON-able; elements: atomic numbers; cutoff of the graphs, Angstrom.

    'pairs': for each element pair the 'shortest' and the 'longest' distance, Angstrom; 'bonds': see bonds.py; 'surroundings': for
    each element, for each neighbouring element, 'low' and 'high' (windows, 5) of number, three eigenvalues and length.
    """
    graphs = list(graphs)
    pairs: dict[str, dict[str, float]] = {}
    surroundings: dict[str, dict[str, dict]] = {}
    for graph in graphs:
        for key, (shortest, longest) in _distances(graph).items():
            known = pairs.setdefault(key, {"shortest": shortest, "longest": longest})
            pairs[key] = {"shortest": min(shortest, known["shortest"]), "longest": max(longest, known["longest"])}
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
    return {"pairs": dict(sorted(pairs.items())), "bonds": describe_bonds(graphs), "surroundings": rounded}


def check_domain(graph: NeighborGraph, elements: Sequence[int], cutoff: float, domain: dict[str, Any]) -> list[str]:
    """Reasons to distrust a prediction for this structure; empty if it looks like the training data."""
    reasons = []
    pairs = domain.get("pairs", {})
    too_far = (FARTHER, "")
    for key, (shortest, longest) in _distances(graph).items():
        if key not in pairs:
            raise UnsupportedStructureError(
                f"the model never saw {key} pairs; it was trained on: {', '.join(sorted(pairs)) or 'nothing'}"
            )
        if shortest < pairs[key]["shortest"] - MARGIN:
            reasons.append(f"{key} distance of {shortest:.3f} A, shortest in training {pairs[key]['shortest']:.3f} A")
        known = pairs[key].get("longest", np.inf)
        if longest - known > too_far[0]:
            too_far = (longest - known, f"{key} distance of {longest:.3f} A, longest in training {known:.3f} A")
    reasons += [too_far[1]] if too_far[1] else []
    reasons += check_bonds(graph, domain["bonds"]) if "bonds" in domain else []
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


def _distances(graph: NeighborGraph) -> dict[str, tuple[float, float]]:
    """Of every pair of elements that are near each other, 'H-C': the shortest and the longest distance, Angstrom."""
    n = graph.n_onsite
    numbers = np.sort(graph.structure.numbers[graph.pairs[n:]], axis=1)
    distance = np.linalg.norm(graph.vectors[n:], axis=1)
    types, index = np.unique(numbers, axis=0, return_inverse=True)
    names = [f"{symbol_of(a)}-{symbol_of(b)}" for a, b in types.tolist()]
    found = {name: distance[index.ravel() == k] for k, name in enumerate(names)}
    return {name: (float(values.min()), float(values.max())) for name, values in found.items()}
