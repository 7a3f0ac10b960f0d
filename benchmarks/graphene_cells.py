"""H(R), S(R) and structure of CP2K's two-atom graphene (tests/data), repeated to cells of any size."""

from pathlib import Path

import numpy as np

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.structure import Structure

FIXTURE = Path(__file__).resolve().parents[1] / "tests" / "data" / "graphene_cp2k.h5"


def read_graphene() -> Sample:
    """The perfect two-atom cell."""
    with StoreReader(FIXTURE) as store:
        return store["perfect"]


def repeat(matrix: BlockMatrix, n1: int, n2: int) -> BlockMatrix:
    """The same crystal as a matrix of an n1 x n2 cell; atoms cell by cell."""
    sizes, n_atoms = np.array([n1, n2, 1]), matrix.layout.n_atoms
    pairs, shifts = [], []
    for cell in np.ndindex(n1, n2):
        over, inside = np.divmod(matrix.shifts + np.array([*cell, 0]), sizes)
        first = n_atoms * (cell[0] * n2 + cell[1])
        second = n_atoms * (inside[:, 0] * n2 + inside[:, 1])
        pairs.append(np.column_stack([matrix.pairs[:, 0] + first, matrix.pairs[:, 1] + second]))
        shifts.append(over)
    layout = OrbitalLayout(matrix.layout.shells * (n1 * n2))
    return BlockMatrix(layout, np.concatenate(pairs), np.concatenate(shifts), np.tile(matrix.values, n1 * n2), matrix.spin)


def repeat_structure(structure: Structure, n1: int, n2: int) -> Structure:
    """The atoms of an n1 x n2 cell in the order of ``repeat``."""
    origins = np.array([[a, b, 0] for a, b in np.ndindex(n1, n2)]) @ structure.cell
    positions = (origins[:, None] + structure.positions).reshape(-1, 3)
    return Structure(np.tile(structure.numbers, n1 * n2), positions, structure.cell * np.array([[n1], [n2], [1]]), structure.pbc)
