"""Blocks and their irreps: the shells a model can output, and H_(l1 m1, l2 m2) <-> coupled (L, M).

All elements share one list of shells (the largest number of each l); an element uses a part of it,
so one head serves any mix of elements. Blocks are (U, U) over these common shells; spinor blocks are four such
matrices (see spin.py), a scalar and an axial vector of spin space: (l1 x l2) x (0 + 1), orbitals first.
"""

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from e3nn.o3 import wigner_3j

from ..basis import Basis
from .irreps import Channels
from .spin import N_MATRICES


class Piece(NamedTuple):
    """One irrep of a block: shells a and b couple to ``orbital``, this and ``spin`` (0 or 1) to L."""

    a: int
    b: int
    orbital: int
    spin: int
    L: int


class CommonShells:
    """Common shells of several elements and the coupling of their pairs.

    shells: l of the common shells, ascending; index[Z]: positions of the element's orbitals among the U common ones;
    spinor: whether blocks are (4, U, U) and not (U, U).
    """

    def __init__(self, basis: Basis, elements, *, spinor: bool = False):
        per_element = {z: basis[z].angular_momenta for z in elements}
        lmax = max(max(ls) for ls in per_element.values())
        counts = [max(ls.count(l) for ls in per_element.values()) for l in range(lmax + 1)]
        self.shells = [l for l, count in enumerate(counts) for _ in range(count)]
        self.starts = np.concatenate([[0], np.cumsum([2 * l + 1 for l in self.shells])])[:-1]
        self.size = sum(2 * l + 1 for l in self.shells)
        self.spinor = spinor
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

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Of the real numbers that are one block: (U, U), or (4, U, U) for spinors."""
        return (N_MATRICES, self.size, self.size) if self.spinor else (self.size, self.size)

    @property
    def n_components(self) -> int:
        """Real numbers in a block, C = U^2 or 4 U^2."""
        return math.prod(self.block_shape)

    def spin_orbitals(self, number: int) -> np.ndarray:
        """Rows of an element's orbitals in a padded block, which is complex and has 2 U rows for spinors, spin outermost."""
        index = self.index[number]
        return np.concatenate([index, index + self.size]) if self.spinor else index

    def padded_index(self, numbers) -> np.ndarray:
        """Where the orbitals of H(k), in its order, stand in a matrix of padded blocks, atom after atom."""
        spins = 2 if self.spinor else 1
        return np.concatenate(
            [(spins * atom + s) * self.size + self.index[int(z)] for s in range(spins) for atom, z in enumerate(numbers)]
        )

    @cached_property
    def pieces(self) -> list[Piece]:
        """Every coupled irrep, sorted by L, natural ones first."""
        pieces = [
            Piece(a, b, orbital, spin, L)
            for a, la in enumerate(self.shells)
            for b, lb in enumerate(self.shells)
            for orbital in range(abs(la - lb), la + lb + 1)
            for spin in ((0, 1) if self.spinor else (0,))
            for L in range(abs(orbital - spin), orbital + spin + 1)
        ]
        return sorted(pieces, key=lambda p: (p.L, self._is_pseudo(p)))

    def _is_pseudo(self, piece: Piece) -> bool:
        # Spin is axial: it adds an odd number to L and nothing to the parity.
        return (self.shells[piece.a] + self.shells[piece.b] + piece.L) % 2 == 1

    @cached_property
    def channels(self) -> Channels:
        """Irreps of a block, one channel per piece."""
        return Channels("+".join(f"1x{self._irrep(p)}" for p in self.pieces))

    def missing_onsite(self, node: Channels) -> list[str]:
        """Irreps that Hermitian on-site blocks hold and ``node`` does not, such as '0o'."""
        # Transposition gives (-1)^orbital between equal shells; h_0 is symmetric and h antisymmetric.
        allowed = [p for p in self.pieces if p.a != p.b or (p.orbital + p.spin) % 2 == 0]
        needed = dict.fromkeys(self._irrep(p) for p in allowed)
        present = {term.split("x")[1] for term in str(node).split("+")}
        return [irrep for irrep in needed if irrep not in present]

    def _irrep(self, piece: Piece) -> str:
        return f"{piece.L}{'eo'[(self.shells[piece.a] + self.shells[piece.b]) % 2]}"

    @cached_property
    def coupling(self) -> torch.Tensor:
        """Orthogonal (C, C) float64: row = coupled component, column = element of the flattened block.

        Rows are ordered like flattened ``rows``: by L, then M, then piece.
        """
        matrix = torch.zeros(self.n_components, *self.block_shape, dtype=torch.float64)
        first = 0
        for L in range(self.channels.lmax + 1):
            pieces = [p for p in self.pieces if p.L == L]
            for number, p in enumerate(pieces):
                la, lb = self.shells[p.a], self.shells[p.b]
                rows = slice(first + number, first + (2 * L + 1) * len(pieces), len(pieces))
                spins = (slice(p.spin, 3 * p.spin + 1),) if self.spinor else ()
                a, b = (slice(self.starts[x], self.starts[x] + 2 * l + 1) for x, l in ((p.a, la), (p.b, lb)))
                block = _couple(la, lb, p.orbital, p.spin, L)
                matrix[rows, *spins, a, b] = block if self.spinor else block[:, 0]
            first += (2 * L + 1) * len(pieces)
        return matrix.flatten(1)

    @cached_property
    def components(self) -> dict[str, torch.Tensor]:
        """Of each row of ``coupling``: 'piece' index, 'order' |M|, 'shell_pair' a * n_shells + b, 'two_centre' flag, 'L',
        'invariant' flag (L = 0 and even)."""
        facts: dict[str, list] = {name: [] for name in ("piece", "order", "shell_pair", "two_centre", "L", "invariant")}
        for L in range(self.channels.lmax + 1):
            pieces = [(k, p) for k, p in enumerate(self.pieces) if p.L == L]
            for M in range(-L, L + 1):
                for k, p in pieces:
                    natural = not self._is_pseudo(p)
                    facts["piece"].append(k)
                    facts["order"].append(abs(M))
                    facts["shell_pair"].append(p.a * len(self.shells) + p.b)
                    facts["two_centre"].append(M == 0 and natural)
                    facts["L"].append(L)
                    facts["invariant"].append(L == 0 and natural)
        return {name: torch.tensor(values) for name, values in facts.items()}


def _couple(la: int, lb: int, orbital: int, spin: int, total: int) -> torch.Tensor:
    """Orthonormal coefficients <total M | (la ma, lb mb) orbital, spin s>, (2 total + 1, 2 spin + 1, 2 la + 1, 2 lb + 1)."""
    orbitals = wigner_3j(la, lb, orbital, dtype=torch.float64) * math.sqrt(2 * orbital + 1)
    if spin == 0:
        return orbitals.permute(2, 0, 1)[:, None]
    spins = wigner_3j(orbital, spin, total, dtype=torch.float64) * math.sqrt(2 * total + 1)
    return torch.einsum("abm,msM->Msab", orbitals, spins)
