"""Structure: the bare facts of a crystal or molecule, without ASE."""

from dataclasses import dataclass

import numpy as np

# Angstrom; searches for neighbours overflow, and end the process, at some higher powers of ten.
FARTHEST = 1e6


class StructureError(ValueError):
    """A structure that no calculation can start from."""


@dataclass(frozen=True, eq=False)
class Structure:
    """numbers (N,) int; positions (N,3) Angstrom; cell (3,3) Angstrom, rows; pbc (3,) bool."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray

    def __post_init__(self):
        for name, dtype in (("numbers", int), ("positions", float), ("cell", float), ("pbc", bool)):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=dtype))
        n = len(self.numbers)
        if n == 0:
            raise StructureError("the structure holds no atoms; expected at least one")
        if self.positions.shape != (n, 3) or self.cell.shape != (3, 3) or self.pbc.shape != (3,):
            raise StructureError(
                f"expected positions ({n}, 3), cell (3, 3), pbc (3,); found "
                f"{self.positions.shape}, {self.cell.shape}, {self.pbc.shape}"
            )
        bad = np.nonzero(~np.isfinite(self.positions).all(axis=1))[0]
        if len(bad):
            raise StructureError(f"position of atom {bad[0]} is not finite: {self.positions[bad[0]]}; check the structure file")
        far = np.nonzero(np.abs(self.positions).max(axis=1) > FARTHEST)[0]
        if len(far):
            raise StructureError(
                f"atom {far[0]} lies at {self.positions[far[0]]} Angstrom, more than {FARTHEST:g} from the origin: "
                "check the structure file"
            )
        if not np.isfinite(self.cell).all():
            raise StructureError(f"the cell is not finite:\n{self.cell}")
        for axis in np.nonzero(self.pbc)[0]:
            if np.linalg.norm(self.cell[axis]) < 1e-3:
                raise StructureError(f"pbc is set along axis {axis} but that cell vector is zero: set atoms.cell, or pbc=False")
        periodic = self.cell[self.pbc]
        if len(periodic) and np.sqrt(abs(np.linalg.det(periodic @ periodic.T))) < 1e-3 ** len(periodic):
            raise StructureError(f"the periodic cell vectors are linearly dependent:\n{periodic}")

    @classmethod
    def from_atoms(cls, atoms) -> "Structure":
        """From an ``ase.Atoms`` (or anything with numbers, positions, cell, pbc)."""
        return cls(atoms.numbers, atoms.positions, np.asarray(atoms.cell), atoms.pbc)

    def __len__(self) -> int:
        return len(self.numbers)

    def equals(self, other: "Structure") -> bool:
        """Whether every number is the same."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("numbers", "positions", "cell", "pbc"))

    @property
    def volume(self) -> float:
        """Of the cell, Angstrom^3."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def complete_cell(self) -> np.ndarray:
        """The cell with unit vectors put where a non-periodic axis has none, so that it can be inverted."""
        cell = self.cell.copy()
        for axis in range(3):
            if np.linalg.norm(cell[axis]) < 1e-3:
                others = np.delete(np.arange(3), axis)
                normal = np.cross(cell[others[0]], cell[others[1]])
                if np.linalg.norm(normal) < 1e-6:
                    normal = np.linalg.svd(cell)[2][-1]
                cell[axis] = normal / np.linalg.norm(normal)
        return cell
