"""Bonds as training knows them: to which elements an atom is bonded at once, how long such bonds are, what they hold together.

Distances alone do not show a broken bond between heavy atoms: it is as long as the distance to a second neighbour. That an atom
has lost a partner shows it.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..covalent_radii import covalent_radius
from ..graph import NeighborGraph
from ..symbols import symbol_of

BONDED = 1.3  # times the sum of the covalent radii
STRETCH = 0.1  # Angstrom; how far a bond may be beyond those of the training


class Bonds:
    """Bonds of a structure: pairs (B, 2) of atoms, lengths (B,) Angstrom; of every atom its partners, '(H H O)', in ``around``."""

    def __init__(self, graph: NeighborGraph):
        numbers = graph.structure.numbers
        radii = np.array([covalent_radius(z) for z in numbers.tolist()])
        pairs, lengths = graph.pairs[graph.n_onsite :], np.linalg.norm(graph.vectors[graph.n_onsite :], axis=1)
        bonded = lengths < BONDED * radii[pairs].sum(axis=1)
        self.pairs, self.lengths = pairs[bonded], lengths[bonded]
        self.symbols = [symbol_of(z) for z in numbers.tolist()]
        partners: list[list[str]] = [[] for _ in self.symbols]
        for i, j in self.pairs.tolist():
            partners[i].append(self.symbols[j])
        self.around = [f"{symbol} ({' '.join(sorted(found))})" for symbol, found in zip(self.symbols, partners, strict=True)]

    @property
    def n_fragments(self) -> int:
        """Molecules, layers or chains without a bond between them."""
        n = len(self.symbols)
        links = coo_array((np.ones(len(self.pairs)), tuple(self.pairs.T)), shape=(n, n))
        return int(connected_components(links, directed=False)[0])


def describe_bonds(graphs: Iterable[NeighborGraph]) -> dict[str, Any]:
    """Facts of the training structures, JSON-able.

    'atoms': for each kind of atom, 'O (H H)', the shortest and longest bond to each element, Angstrom; 'fragments': the largest
    number of them in one structure.
    """
    atoms: dict[str, dict[str, list[float]]] = {}
    fragments = 0
    for graph in graphs:
        bonds = Bonds(graph)
        fragments = max(fragments, bonds.n_fragments)
        for kind in bonds.around:
            atoms.setdefault(kind, {})
        for (i, j), length in zip(bonds.pairs.tolist(), bonds.lengths.tolist(), strict=True):
            seen = atoms[bonds.around[i]].setdefault(bonds.symbols[j], [length, length])
            seen[:] = [min(length, seen[0]), max(length, seen[1])]
    rounded = {kind: {symbol: np.round(seen, 4).tolist() for symbol, seen in rows.items()} for kind, rows in atoms.items()}
    return {"atoms": dict(sorted(rounded.items())), "fragments": fragments}


def check_bonds(graph: NeighborGraph, seen: dict[str, Any]) -> list[str]:
    """What is unlike the training, in words: at most one reason for partners, for lengths and for fragments."""
    bonds, reasons = Bonds(graph), []
    strange = [atom for atom, kind in enumerate(bonds.around) if kind not in seen["atoms"]]
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        reasons.append(f"atom {strange[0]}{more}: bonds as in {bonds.around[strange[0]]}, none such in training")
    worst = (STRETCH, "")
    for (i, j), length in zip(bonds.pairs.tolist(), bonds.lengths.tolist(), strict=True):
        shortest, longest = seen["atoms"].get(bonds.around[i], {}).get(bonds.symbols[j], (-np.inf, np.inf))
        beyond = max(shortest - length, length - longest)
        if beyond > worst[0]:
            where = f"{bonds.symbols[i]} atom {i}: bond of {length:.3f} A to {bonds.symbols[j]}"
            worst = (beyond, f"{where}, {shortest:.3f} to {longest:.3f} A in {bonds.around[i]} of the training")
    if worst[1]:
        reasons.append(worst[1])
    if bonds.n_fragments > seen["fragments"]:
        reasons.append(f"{bonds.n_fragments} fragments without a bond between them, at most {seen['fragments']} in training")
    return reasons
