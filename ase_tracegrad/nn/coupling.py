"""Blocks and their irreps: the shells a model can output, and H_(l1 m1, l2 m2) <-> coupled (L, M).

All elements share one list of shells (the largest number of each l); an element uses a part of it,
so one head serves any mix of elements. Blocks are (U, U) over these common shells.
"""

import math
from functools import cached_property

import numpy as np
import torch
from e3nn.o3 import wigner_3j

from ..basis import Basis
from .irreps import Channels


class CommonShells:
    """Common shells of several elements and the coupling of their pairs.

    shells: l of the common shells, ascending; index[Z]: positions of the element's orbitals among the U common ones.
    """

    def __init__(self, basis: Basis, elements):
        per_element = {z: basis[z].angular_momenta for z in elements}
        lmax = max(max(ls) for ls in per_element.values())
        counts = [max(ls.count(l) for ls in per_element.values()) for l in range(lmax + 1)]
        self.shells = [l for l, count in enumerate(counts) for _ in range(count)]
        self.starts = np.concatenate([[0], np.cumsum([2 * l + 1 for l in self.shells])])[:-1]
        self.size = sum(2 * l + 1 for l in self.shells)
        self.index = {z: self._orbitals(ls) for z, ls in per_element.items()}
        self.shell_mask = {z: self._uses(ls) for z, ls in per_element.items()}

    def _slots(self, angular_momenta) -> list[int]:
        """Common shell of each of the element's shells: the k-th shell of an l goes to the k-th common one."""
        seen: dict[int, int] = {}
        slots = []
        for l in angular_momenta:
            slots.append(self.shells.index(l) + seen.get(l, 0))
            seen[l] = seen.get(l, 0) + 1
        return slots

    def _orbitals(self, angular_momenta) -> np.ndarray:
        return np.concatenate([self.starts[s] + np.arange(2 * self.shells[s] + 1) for s in self._slots(angular_momenta)])

    def _uses(self, angular_momenta) -> np.ndarray:
        return np.isin(np.arange(len(self.shells)), self._slots(angular_momenta))

    @cached_property
    def pieces(self) -> list[tuple[int, int, int]]:
        """(shell a, shell b, L) of every coupled irrep, sorted by L, natural ones first."""
        pieces = [
            (a, b, L)
            for a, la in enumerate(self.shells)
            for b, lb in enumerate(self.shells)
            for L in range(abs(la - lb), la + lb + 1)
        ]
        return sorted(pieces, key=lambda p: (p[2], self._is_pseudo(p)))

    def _is_pseudo(self, piece) -> bool:
        a, b, L = piece
        return (self.shells[a] + self.shells[b] + L) % 2 == 1

    @cached_property
    def channels(self) -> Channels:
        """Irreps of a block, one channel per piece."""
        terms = [f"1x{L}{'e' if (L % 2 == 0) != self._is_pseudo((a, b, L)) else 'o'}" for a, b, L in self.pieces]
        return Channels("+".join(terms))

    @cached_property
    def coupling(self) -> torch.Tensor:
        """Orthogonal (U^2, U^2) float64: row = coupled component, column = element of the flattened block.

        Rows are ordered like flattened ``rows``: by L, then M, then piece.
        """
        rows = []
        for L in range(self.channels.lmax + 1):
            pieces = [p for p in self.pieces if p[2] == L]
            for M in range(2 * L + 1):
                for a, b, _ in pieces:
                    la, lb = self.shells[a], self.shells[b]
                    block = torch.zeros(self.size, self.size, dtype=torch.float64)
                    coefficients = wigner_3j(la, lb, L, dtype=torch.float64)[:, :, M] * math.sqrt(2 * L + 1)
                    block[self.starts[a] : self.starts[a] + 2 * la + 1, self.starts[b] : self.starts[b] + 2 * lb + 1] = coefficients
                    rows.append(block.flatten())
        return torch.stack(rows)

    @cached_property
    def components(self) -> dict[str, torch.Tensor]:
        """Of each row of ``coupling``: 'piece' index, 'order' |M|, 'shell_pair' a * n_shells + b, 'two_centre' flag, 'L'."""
        facts: dict[str, list] = {"piece": [], "order": [], "shell_pair": [], "two_centre": [], "L": []}
        for L in range(self.channels.lmax + 1):
            pieces = [(k, p) for k, p in enumerate(self.pieces) if p[2] == L]
            for M in range(-L, L + 1):
                for k, (a, b, _) in pieces:
                    facts["piece"].append(k)
                    facts["order"].append(abs(M))
                    facts["shell_pair"].append(a * len(self.shells) + b)
                    facts["two_centre"].append(M == 0 and not self._is_pseudo((a, b, L)))
                    facts["L"].append(L)
        return {name: torch.tensor(values) for name, values in facts.items()}
