"""NeighborGraph: the atom pairs whose orbitals reach each other. The search itself is vesin's."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from vesin import NeighborList

from .structure import Structure, StructureError


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """Ordered pairs (i, j, R): atom i in the home cell, atom j in cell R.

    structure: the structure; pairs (E, 2) int; shifts (E, 3) int; reverse (E,) index of (j, i, -R).
    The first N pairs are the on-site ones (i, i, 0), in order; the others follow by growing distance.
    """

    structure: Structure
    pairs: np.ndarray
    shifts: np.ndarray
    reverse: np.ndarray

    def __post_init__(self):
        if not (self.reverse[self.reverse] == np.arange(len(self.reverse))).all():
            raise ValueError("the reverse-pair index is not an involution")

    @property
    def n_onsite(self) -> int:
        """Number of atoms = number of on-site pairs."""
        return len(self.structure)

    @property
    def vectors(self) -> np.ndarray:
        """(E, 3) from atom i to atom j in cell R, Angstrom."""
        i, j = self.pairs.T
        positions = self.structure.positions
        return positions[j] - positions[i] + self.shifts @ self.structure.cell


def build_graph(structure: Structure, reach: Mapping[int, float], *, closest: float = 0.4) -> NeighborGraph:
    """All pairs nearer than reach[Z_i] + reach[Z_j] (Angstrom), and every on-site pair once.

    closest: distance in Angstrom below which a structure is refused (StructureError).
    """
    unknown = sorted(set(structure.numbers.tolist()) - set(reach))
    if unknown:
        raise StructureError(f"no reach known for element(s) {unknown}; known: {sorted(reach)}")
    reaches = np.array([reach[z] for z in structure.numbers.tolist()])
    i, j, shifts, distance = _search(structure, 2 * reaches.max())
    too_close = np.nonzero(distance < closest)[0]
    if len(too_close):
        first = too_close[np.argmin(distance[too_close])]
        raise StructureError(
            f"atoms {i[first]} and {j[first]} are {distance[first]:.3f} Angstrom apart (less than {closest}): "
            "check the structure for duplicate atoms, wrong units or a wrong cell"
        )
    inside = distance < reaches[i] + reaches[j]
    i, j, shifts, distance = i[inside], j[inside], shifts[inside], distance[inside]
    order = np.argsort(distance, kind="stable")
    n = len(structure)
    pairs = np.concatenate([np.repeat(np.arange(n)[:, None], 2, axis=1), np.stack([i, j], axis=1)[order]])
    shifts = np.concatenate([np.zeros((n, 3), dtype=int), shifts[order]])
    return NeighborGraph(structure, pairs, shifts, _reverse_index(pairs, shifts))


def _search(structure: Structure, cutoff: float):
    """Pairs i, j, shifts and distances within the cut-off, i != j or R != 0."""
    search = NeighborList(cutoff=cutoff, full_list=True)
    i, j, shifts, distance = search.compute(
        points=structure.positions, box=structure.complete_cell, periodic=structure.pbc, quantities="ijSd"
    )
    return i.astype(int), j.astype(int), np.asarray(shifts).astype(int).reshape(-1, 3), distance


def _reverse_index(pairs: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    forward = np.hstack([pairs, shifts])
    backward = np.hstack([pairs[:, ::-1], -shifts])
    order, partner = np.lexsort(forward.T), np.lexsort(backward.T)
    if not (forward[order] == backward[partner]).all():
        raise ValueError("the pair list lacks the reverse of some pair")
    reverse = np.empty(len(pairs), dtype=int)
    reverse[partner] = order
    return reverse
