"""BlockMatrix: H(R) or S(R) as blocks (i, j, R), and its Bloch sum.

Convention: block (i, j, R) = <phi_i(cell 0)| M |phi_j(cell R)>, R integer, and
M(k) = sum_R exp(+2 pi i k.R) M(R) with k in fractions of the reciprocal cell.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from .basis import OrbitalLayout

SpinKind = Literal["none", "spinor"]
BlockKey = tuple[int, int, tuple[int, int, int]]


@dataclass(frozen=True, eq=False, repr=False)
class BlockMatrix:
    """A real-space matrix as one flat array of blocks.

    layout: orbitals of the atoms; pairs (B, 2) int, atoms i and j; shifts (B, 3) int, cell R of
    atom j; values: all blocks one after the other, each row by row; spin: 'none' or 'spinor'.
    A spinor block is (2 n_i, 2 n_j), spin outermost: [[uu, ud], [du, dd]].
    """

    layout: OrbitalLayout
    pairs: np.ndarray
    shifts: np.ndarray
    values: np.ndarray
    spin: SpinKind = "none"

    def __post_init__(self):
        object.__setattr__(self, "pairs", np.array(self.pairs, dtype=int).reshape(-1, 2))
        object.__setattr__(self, "shifts", np.array(self.shifts, dtype=int).reshape(-1, 3))
        values = np.asarray(self.values)
        if values.dtype not in (np.float64, np.complex128):
            values = values.astype(complex if np.iscomplexobj(values) else float)
        object.__setattr__(self, "values", values)
        if len(self.pairs) != len(self.shifts):
            raise ValueError(f"expected one shift per pair, found {len(self.pairs)} pairs and {len(self.shifts)} shifts")
        if len(self.pairs) and (self.pairs.min() < 0 or self.pairs.max() >= self.layout.n_atoms):
            raise ValueError(f"pairs name atoms {self.pairs.min()}..{self.pairs.max()}, the layout has {self.layout.n_atoms}")
        if self.spin not in ("none", "spinor"):
            raise ValueError(f"spin must be 'none' or 'spinor', found {self.spin!r}")
        if values.shape != (self.offsets[-1],):
            raise ValueError(f"these pairs hold {self.offsets[-1]} numbers, found an array of shape {values.shape}")
        if len(self._order) > 1 and (np.diff(self._sorted_keys, axis=0) == 0).all(axis=1).any():
            raise ValueError("a block (i, j, R) is given twice")

    # -- construction ------------------------------------------------------------------------

    @classmethod
    def from_blocks(cls, layout: OrbitalLayout, blocks: Mapping[BlockKey, np.ndarray], spin: SpinKind = "none") -> "BlockMatrix":
        """From {(i, j, (R1, R2, R3)): block}."""
        spins = 2 if spin == "spinor" else 1
        for (i, j, shift), block in blocks.items():
            expected = (spins * int(layout.sizes[i]), spins * int(layout.sizes[j]))
            if np.shape(block) != expected:
                raise ValueError(f"block {(i, j, tuple(shift))} must have shape {expected}, found {np.shape(block)}")
        return cls(
            layout,
            np.array([key[:2] for key in blocks]),
            np.array([key[2] for key in blocks]),
            np.concatenate([np.ravel(b) for b in blocks.values()]) if blocks else np.zeros(0),
            spin,
        )

    @classmethod
    def from_dense(cls, layout: OrbitalLayout, cells, matrices, threshold: float = 0.0) -> "BlockMatrix":
        """From M(R) as dense matrices: cells (C, 3) int, matrices (C, n, n). Blocks whose largest
        element does not exceed ``threshold`` are left out (on-site blocks are kept)."""
        blocks: dict[BlockKey, np.ndarray] = {}
        edges = layout.offsets
        for cell, matrix in zip(cells, matrices, strict=True):
            largest = np.maximum.reduceat(np.maximum.reduceat(np.abs(matrix), edges[:-1], axis=0), edges[:-1], axis=1)
            r1, r2, r3 = (int(x) for x in cell)
            onsite = np.eye(layout.n_atoms, dtype=bool) & ((r1, r2, r3) == (0, 0, 0))
            for i, j in np.argwhere((largest > threshold) | onsite).tolist():
                blocks[i, j, (r1, r2, r3)] = matrix[edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
        return cls.from_blocks(layout, blocks)

    # -- access --------------------------------------------------------------------------------

    @property
    def n_spin(self) -> int:
        """Spin components of an orbital: 1, or 2 for spinors."""
        return 2 if self.spin == "spinor" else 1

    @property
    def n_orbitals(self) -> int:
        """Dimension of M(k)."""
        return self.n_spin * self.layout.total

    @cached_property
    def shapes(self) -> np.ndarray:
        """(B, 2) rows and columns of each block."""
        return self.n_spin * self.layout.sizes[self.pairs]

    @cached_property
    def offsets(self) -> np.ndarray:
        """(B+1,) where each block begins in ``values``."""
        return np.concatenate([[0], np.cumsum(self.shapes.prod(axis=1))]).astype(int)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        size = f"{self.layout.n_atoms} atoms, {self.n_orbitals} orbitals, {len(self)} blocks"
        spin = "" if self.spin == "none" else f", {self.spin}"
        return f"BlockMatrix({size}{spin}, largest {np.abs(self.values).max(initial=0.0):.4g})"

    def block(self, i: int, j: int, shift=(0, 0, 0)) -> np.ndarray:
        """The block (i, j, R); KeyError if it is not stored."""
        try:
            r1, r2, r3 = shift
            b = self.index[i, j, (int(r1), int(r2), int(r3))]
        except KeyError:
            raise KeyError(f"no block ({i}, {j}, {tuple(shift)}); this matrix stores {len(self)} blocks") from None
        return self._block(b)

    def _block(self, b: int) -> np.ndarray:
        return self.values[self.offsets[b] : self.offsets[b + 1]].reshape(self.shapes[b])

    def items(self) -> Iterator[tuple[BlockKey, np.ndarray]]:
        """Iterate over ((i, j, (R1, R2, R3)), block)."""
        for key, b in self.index.items():
            yield key, self._block(b)

    @cached_property
    def index(self) -> dict[BlockKey, int]:
        """Number of the block of each (i, j, R)."""
        return {
            (i, j, tuple(shift)): b for b, ((i, j), shift) in enumerate(zip(self.pairs.tolist(), self.shifts.tolist(), strict=True))
        }

    @cached_property
    def _order(self) -> np.ndarray:
        keys = np.hstack([self.pairs, self.shifts])
        return np.lexsort(keys.T[::-1])

    @cached_property
    def _sorted_keys(self) -> np.ndarray:
        return np.hstack([self.pairs, self.shifts])[self._order]

    # -- algebra -------------------------------------------------------------------------------

    def adjoint(self) -> "BlockMatrix":
        """Blocks M_ji(-R)^dagger, in the order of this matrix's pairs; every (j, i, -R) must be stored."""
        out = np.empty_like(self.values)
        for b, partner in enumerate(self.reverse):
            out[self.offsets[b] : self.offsets[b + 1]] = self._block(partner).conj().T.ravel()
        return replace(self, values=out)

    @cached_property
    def reverse(self) -> np.ndarray:
        """(B,) number of the block (j, i, -R) of each (i, j, R)."""
        try:
            return np.array([self.index[j, i, (-r[0], -r[1], -r[2])] for i, j, r in self.index], dtype=int)
        except KeyError as missing:
            raise ValueError(f"block {missing} is missing although its adjoint is stored: the matrix is not Hermitian") from None

    def hermiticity_residual(self) -> float:
        """Largest |M_ij(R) - M_ji(-R)^dagger|, counting a missing partner as zero."""
        largest = 0.0
        for (i, j, r), block in self.items():
            partner = self.index.get((j, i, (-r[0], -r[1], -r[2])))
            difference = block if partner is None else block - self._block(partner).conj().T
            largest = max(largest, float(np.abs(difference).max(initial=0.0)))
        return largest

    def is_hermitian(self, tol: float = 1e-6) -> bool:
        """Whether M_ij(R) = M_ji(-R)^dagger within ``tol`` (unit of the matrix)."""
        return self.hermiticity_residual() <= tol

    def symmetrized(self) -> "BlockMatrix":
        """The Hermitian part (M + M^dagger) / 2."""
        return replace(self, values=(self.values + self.adjoint().values) / 2)

    def with_spin(self, spin: SpinKind) -> "BlockMatrix":
        """This matrix; if it is spinless and spinors are asked for, M x sigma_0, which acts on both spins alike."""
        if spin == self.spin:
            return self
        if spin == "none":
            raise ValueError("a spinor matrix cannot be made spinless")
        unit = np.eye(2)
        values = [np.kron(unit, self._block(b)).ravel() for b in range(len(self))]
        return replace(self, values=np.concatenate(values) if values else self.values, spin=spin)

    def restricted_to(self, other: "BlockMatrix") -> "BlockMatrix":
        """This matrix on the pairs of ``other``: blocks that are not stored here are zero there."""
        self._require_same_layout(other)
        out = np.zeros(other.offsets[-1], dtype=self.values.dtype)
        for key, b in other.index.items():
            mine = self.index.get(key)
            if mine is not None:
                out[other.offsets[b] : other.offsets[b + 1]] = self._block(mine).ravel()
        return replace(other, values=out, spin=self.spin)

    def cut(self, keep: np.ndarray) -> "BlockMatrix":
        """Only the blocks where ``keep`` (B,) is true."""
        keep = np.asarray(keep, dtype=bool)
        selected = [self._block(b).ravel() for b in np.nonzero(keep)[0].tolist()]
        values = np.concatenate(selected) if selected else self.values[:0]
        return BlockMatrix(self.layout, self.pairs[keep], self.shifts[keep], values, self.spin)

    def distances(self, positions, cell) -> np.ndarray:
        """(B,) distance between the atoms of each block, Angstrom."""
        i, j = self.pairs.T
        positions = np.asarray(positions)
        return np.linalg.norm(positions[j] + self.shifts @ np.asarray(cell) - positions[i], axis=1)

    def __add__(self, other: "BlockMatrix") -> "BlockMatrix":
        """Sum over the union of the stored blocks."""
        self._require_same_layout(other)
        if self.index.keys() == other.index.keys():
            return replace(self, values=self.values + other.restricted_to(self).values)
        blocks = {key: np.array(block) for key, block in self.items()}
        for key, block in other.items():
            blocks[key] = blocks[key] + block if key in blocks else block
        return BlockMatrix.from_blocks(self.layout, blocks, self.spin)

    def __sub__(self, other: "BlockMatrix") -> "BlockMatrix":
        return self + (-1.0) * other

    def __rmul__(self, factor: float) -> "BlockMatrix":
        return replace(self, values=factor * self.values)

    def inner(self, other: "BlockMatrix") -> float:
        """Re sum over the common blocks of conj(self) * other, <self, other>."""
        return float(np.vdot(self.values, other.restricted_to(self).values).real)

    def _require_same_layout(self, other: "BlockMatrix"):
        if self.layout.shells != other.layout.shells or self.spin != other.spin:
            raise ValueError("the two matrices belong to different structures, bases or spin kinds")

    # -- reciprocal space ------------------------------------------------------------------------

    def bloch(self, kpts) -> np.ndarray:
        """M(k) = sum_R exp(+2 pi i k.R) M(R) for kpts (K, 3) fractional; (K, N, N) complex128."""
        kpts = np.atleast_2d(np.asarray(kpts, dtype=float))
        if kpts.ndim != 2 or kpts.shape[1] != 3 or not np.isfinite(kpts).all():
            raise ValueError(f"expected finite k-points of shape (K, 3), found shape {kpts.shape}")
        positions, starts, order, cells, cell_of = self._bloch_pattern
        out = np.zeros((len(kpts), self.n_orbitals**2), dtype=complex)
        if len(order):
            sorted_values = self.values[order]
            phases = np.exp(2j * np.pi * (kpts @ cells.T))
            for k in range(len(kpts)):
                out[k, positions] = np.add.reduceat(sorted_values * phases[k][cell_of], starts)
        return out.reshape(len(kpts), self.n_orbitals, self.n_orbitals)

    @cached_property
    def _bloch_pattern(self):
        """Which values are summed into which element of M(k): a compressed-row pattern, built once."""
        first = np.concatenate([s * self.layout.total + np.zeros(1, int) for s in range(self.n_spin)])
        cells, cell_index = np.unique(self.shifts, axis=0, return_inverse=True)
        elements = np.empty(self.offsets[-1], dtype=np.int64)
        for b, (i, j) in enumerate(self.pairs):
            rows = (first[:, None] + self.layout.offsets[i] + np.arange(self.layout.sizes[i])).ravel()
            columns = (first[:, None] + self.layout.offsets[j] + np.arange(self.layout.sizes[j])).ravel()
            elements[self.offsets[b] : self.offsets[b + 1]] = (rows[:, None] * self.n_orbitals + columns).ravel()
        order = np.argsort(elements, kind="stable")
        cell_of = np.repeat(cell_index.ravel(), np.diff(self.offsets))[order]
        positions, starts = np.unique(elements[order], return_index=True)
        return positions, starts, order, cells, cell_of
