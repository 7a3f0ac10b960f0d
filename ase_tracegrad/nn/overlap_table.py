"""tr(S S^T) of every shell pair of two atoms as functions of their distance: the overlap as an input of a network.

S of two atoms is a function of their elements and their distance alone, so this tells a network nothing that it could not learn
from the distance.
"""

import numpy as np
import torch
from torch import Tensor, nn

from ..basis import Basis
from ..overlap import compute_overlap
from ..structure import Structure
from .batch import GraphBatch
from .coupling import CommonShells
from .radial import gaussian_basis
from .readout import apply_tables

START, END, POINTS = 0.5, 8.0, 128  # Angstrom; beyond the end traces are as there, for orbitals of atoms nearly zero


class OverlapTable(nn.Module):
    """(E, n_traces) of a batch, by weighted means of the table's neighbouring distances; zero until it is filled."""

    table: Tensor

    def __init__(self, shells: CommonShells, cutoff: float):
        super().__init__()
        self.shells, self.elements, self.end = shells, list(shells.index), min(cutoff, END)
        self.n_traces = len(shells.shells) ** 2
        self.register_buffer("table", torch.zeros(len(self.elements) ** 2, POINTS, self.n_traces))

    def fill(self, basis: Basis):
        """Compute S of two atoms of each pair of elements at each distance. ValueError for orbitals without radial functions."""
        n = len(self.elements)
        for a, first in enumerate(self.elements):
            for b, second in enumerate(self.elements[: a + 1]):
                traces = np.array([self._traces(basis, first, second, d) for d in np.linspace(START, self.end, POINTS)])
                transposed = traces.reshape(POINTS, *2 * [len(self.shells.shells)]).swapaxes(1, 2).reshape(POINTS, -1)
                self.table[a * n + b].copy_(torch.from_numpy(traces))
                self.table[b * n + a].copy_(torch.from_numpy(transposed))

    def _traces(self, basis: Basis, first: int, second: int, distance: float) -> np.ndarray:
        positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
        dimer = Structure(np.array([first, second]), positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
        overlap = compute_overlap(dimer, basis)
        padded = np.zeros((self.shells.size, self.shells.size))
        if (0, 1, (0, 0, 0)) in overlap.index:
            padded[np.ix_(self.shells.index[first], self.shells.index[second])] = overlap.block(0, 1)
        starts = self.shells.starts
        return np.add.reduceat(np.add.reduceat(padded**2, starts, axis=0), starts, axis=1).ravel()

    def forward(self, batch: GraphBatch) -> Tensor:
        """The traces of every pair of atoms."""
        phi = gaussian_basis(batch.distance.clamp(START, self.end), START, self.end, POINTS)
        share = phi / phi.sum(1, keepdim=True)
        kind = batch.species[batch.receiver] * len(self.elements) + batch.species[batch.sender]
        return apply_tables(share, kind, self.table)
