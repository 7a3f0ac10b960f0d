"""Along which axes bands can disperse: judged by closed loops of couplings, not by the cells in which atoms are stored."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ..blocks import BlockMatrix


def find_dispersive_axes(hamiltonian: BlockMatrix, threshold: float) -> np.ndarray:
    """(3,) bool: axes along which a chain of elements above ``threshold`` eV leads from an atom to its own image.

    Blocks with R != 0 alone prove nothing: an atom stored one period away couples to its neighbours through them.
    A spanning tree of the coupled atoms tells in which cell each belongs; what then still couples to other cells
    closes a loop through the crystal.
    """
    strong = np.maximum.reduceat(np.abs(hamiltonian.values), hamiltonian.offsets[:-1]) > threshold
    pairs, shifts = hamiltonian.pairs[strong], hamiltonian.shifts[strong]
    pairs, shifts = np.concatenate([pairs, pairs[:, ::-1]]), np.concatenate([shifts, -shifts])
    cells = _home_cells(pairs, shifts, hamiltonian.layout.n_atoms)
    first, second = pairs.T
    return (shifts + cells[second] - cells[first] != 0).any(axis=0)


def _home_cells(pairs: np.ndarray, shifts: np.ndarray, n_atoms: int) -> np.ndarray:
    """(N, 3) cell of each atom that makes R = 0 for the pairs of a spanning tree of each connected part."""
    first, second = pairs.T
    links = coo_array((np.ones(len(pairs)), (first, second)), shape=(n_atoms, n_atoms)).tocsr()
    codes, stored = np.unique(first * n_atoms + second, return_index=True)
    cells = np.zeros((n_atoms, 3), dtype=int)
    for start in np.unique(connected_components(links, directed=False)[1], return_index=True)[1]:
        order, before = breadth_first_order(links, start)
        steps = shifts[stored[np.searchsorted(codes, before[order[1:]] * n_atoms + order[1:])]]
        for atom, step in zip(order[1:], steps, strict=True):
            cells[atom] = cells[before[atom]] - step
    return cells
