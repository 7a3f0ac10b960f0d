"""Where a model may be trusted: elements, element pairs, distances and neighbour counts seen in training."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..graph import NeighborGraph
from ..symbols import symbol_of

BOND_RANGE = 1.4  # pairs within this multiple of the nearest distance of the pair type count as neighbours
MARGIN = 0.05  # Angstrom; distances this far outside the training range are still accepted silently


class UnsupportedStructureError(ValueError):
    """The model holds nothing for an element or element pair of this structure."""


def describe_domain(graphs: Iterable[NeighborGraph], elements: list[int]) -> dict[str, Any]:
    """Facts of the training structures: per element pair the nearest distance and the range of bond lengths, per element
    the range of neighbour counts. JSON-able."""
    graphs = list(graphs)
    shortest: dict[str, float] = {}
    for graph in graphs:
        for key, distance in _nearest_by_pair(graph).items():
            shortest[key] = min(shortest.get(key, np.inf), distance)
    farthest = dict.fromkeys(shortest, 0.0)
    counts: dict[str, list[int]] = {}
    for graph in graphs:
        for key, distances in _nearest_per_atom(graph).items():
            farthest[key] = max(farthest[key], float(distances.max()))
    radius = {key: BOND_RANGE * distance for key, distance in shortest.items()}
    for graph in graphs:
        for z, n in _coordination(graph, radius).items():
            low, high = counts.get(z, [n.min(), n.max()])
            counts[z] = [int(min(low, n.min())), int(max(high, n.max()))]
    return {
        "pairs": {key: {"shortest": shortest[key], "farthest_nearest": farthest[key]} for key in sorted(shortest)},
        "neighbour_counts": counts,
        "neighbour_radius": radius,
    }


def check_domain(graph: NeighborGraph, elements: list[int], domain: dict[str, Any]) -> list[str]:
    """Reasons to distrust a prediction for this structure; empty if it looks like the training data."""
    warnings = []
    nearest = _nearest_per_atom(graph)
    pairs = domain.get("pairs", {})
    for key, distance in _nearest_by_pair(graph).items():
        if key not in pairs:
            raise UnsupportedStructureError(
                f"the model never saw {key} pairs; it was trained on: {', '.join(sorted(pairs)) or 'nothing'}"
            )
        if distance < pairs[key]["shortest"] - MARGIN:
            warnings.append(f"{key} distance of {distance:.3f} A, shortest in training {pairs[key]['shortest']:.3f} A")
    for key, distances in nearest.items():
        if distances.max() > pairs[key]["farthest_nearest"] + MARGIN:
            warnings.append(
                f"nearest {key} neighbour at {distances.max():.3f} A, farthest in training {pairs[key]['farthest_nearest']:.3f} A"
            )
    for z, n in _coordination(graph, domain.get("neighbour_radius", {})).items():
        low, high = domain.get("neighbour_counts", {}).get(z, [0, np.inf])
        if n.min() < low or n.max() > high:
            warnings.append(f"{z} with {n.min()} to {n.max()} neighbours, {low} to {high} in training")
    return warnings


def _pair_types(graph: NeighborGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Off-site pairs by growing distance: first atom, distance, index of the pair type; and the types, 'C-C'."""
    n = graph.n_onsite
    pairs = graph.pairs[n:]
    numbers = np.sort(graph.structure.numbers[pairs], axis=1)
    types, index = np.unique(numbers, axis=0, return_inverse=True)
    names = [f"{symbol_of(a)}-{symbol_of(b)}" for a, b in types.tolist()]
    return pairs[:, 0], np.linalg.norm(graph.vectors[n:], axis=1), index.ravel(), names


def _nearest_by_pair(graph: NeighborGraph) -> dict[str, float]:
    _, distance, index, names = _pair_types(graph)
    return {name: float(distance[index == k].min()) for k, name in enumerate(names)}


def _nearest_per_atom(graph: NeighborGraph) -> dict[str, np.ndarray]:
    """Distance of the nearest neighbour of every atom that has one, by the pair type of that neighbour."""
    first, distance, index, names = _pair_types(graph)
    _, rows = np.unique(first, return_index=True)  # the first row of an atom is its nearest neighbour
    return {name: distance[rows[index[rows] == k]] for k, name in enumerate(names) if (index[rows] == k).any()}


def _coordination(graph: NeighborGraph, radius: dict[str, float]) -> dict[str, np.ndarray]:
    """Neighbours of every atom within the radius of each pair type, by element."""
    first, distance, index, names = _pair_types(graph)
    limits = np.array([radius.get(name, 0.0) for name in names])
    near = distance < limits[index] if names else np.zeros(0, dtype=bool)
    counts = np.bincount(first[near], minlength=graph.n_onsite)
    numbers = graph.structure.numbers
    return {symbol_of(int(z)): counts[numbers == z] for z in np.unique(numbers)}
