"""Whether matrices and structure belong together: what the readers check before they return a Sample."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..blocks import BlockMatrix
from ..damage import DAMAGE
from ..structure import Structure
from .sample import FormatError

LARGEST_RESIDUAL = 1e-3  # eV or 1: far above the noise of published data, far below a block in the wrong place
SIGNIFICANT = 1e-3  # an overlap block this large shows that its elements' orbitals reach so far
SHORTER = 0.95  # the right cell makes the longest pair shorter than its transpose does; hexagonal cells by 14 %


def check_matrix(path: Path, build: Callable[[], BlockMatrix]) -> BlockMatrix:
    """The matrix, if it can be built, is finite and Hermitian; FormatError with the reason otherwise."""
    try:
        matrix = build()
    except DAMAGE as error:
        raise FormatError(f"{path}: {error}") from error
    if not len(matrix):
        raise FormatError(f"{path} holds no blocks")
    if not np.isfinite(matrix.values).all():
        raise FormatError(f"{path}: {np.count_nonzero(~np.isfinite(matrix.values))} matrix elements are not finite")
    residual = matrix.hermiticity_residual()
    if residual > LARGEST_RESIDUAL:
        raise FormatError(
            f"{path}: not Hermitian, |M_ij(R) - M_ji(-R)^dagger| reaches {residual:.1e}; "
            "blocks are missing, or atoms or cells are permuted"
        )
    return matrix


def make_real(path: Path, overlap: BlockMatrix) -> BlockMatrix:
    """The overlap of real orbitals, which some programs store as complex numbers; FormatError if it is not real."""
    if not np.iscomplexobj(overlap.values):
        return overlap
    largest = np.abs(overlap.values.imag).max()
    if largest > LARGEST_RESIDUAL:
        raise FormatError(f"{path}: the overlap of real orbitals is real, found imaginary parts up to {largest:.1e}")
    return replace(overlap, values=overlap.values.real)


def check_pairs(path: Path, structure: Structure, hamiltonian: BlockMatrix, overlap: BlockMatrix):
    """FormatError if the overlap in file ``path`` lacks pairs that it must have.

    No atom can lack its own block. Pairs of the Hamiltonian that the overlap lacks are zero there, which is right beyond
    the orbitals' reach (projectors reach farther) and wrong at distances where the same elements still overlap.
    """
    missing = [i for i in range(overlap.layout.n_atoms) if (i, i, (0, 0, 0)) not in overlap.index]
    if missing:
        raise FormatError(f"{path}: the on-site blocks of atoms {missing} (counted from 0) are missing")
    largest = np.maximum.reduceat(np.abs(overlap.values), overlap.offsets[:-1])
    elements = structure.numbers[overlap.pairs].tolist()
    reach: dict[tuple[int, int], float] = {}
    for (a, b), distance, value in zip(elements, overlap.distances(structure.positions, structure.cell), largest, strict=True):
        if value > SIGNIFICANT:
            reach[a, b] = max(reach.get((a, b), 0.0), float(distance))
    lacking = []
    for key, distance in zip(hamiltonian.index, hamiltonian.distances(structure.positions, structure.cell), strict=True):
        a, b = structure.numbers[list(key[:2])].tolist()
        if key not in overlap.index and distance < reach.get((a, b), 0.0) - 1e-6:
            lacking.append((key, float(distance), reach[a, b]))
    if lacking:
        (i, j, r), distance, far = lacking[0]
        raise FormatError(
            f"{path}: {len(lacking)} pairs of the Hamiltonian have no overlap although the orbitals overlap at that distance, "
            f"first atoms {i} and {j} (counted from 0) with R = {r}, {distance:.3f} Angstrom apart, where the same elements "
            f"still overlap at {far:.3f} Angstrom: the file is incomplete"
        )


def check_lattice(path: Path, structure: Structure, hamiltonian: BlockMatrix):
    """FormatError if the pairs fit the transposed cell: a list of neighbours is round in the right cell only."""
    longest, transposed = (
        hamiltonian.distances(structure.positions, cell).max(initial=0.0) for cell in (structure.cell, structure.cell.T)
    )
    if transposed < SHORTER * longest:
        raise FormatError(
            f"{path}: the lattice vectors seem to be transposed: with them the pairs of the Hamiltonian reach {longest:.2f} "
            f"Angstrom, with rows and columns exchanged {transposed:.2f}"
        )


def unit_overlap(layout) -> BlockMatrix:
    """The overlap of an orthogonal basis."""
    return BlockMatrix.from_blocks(layout, {(i, i, (0, 0, 0)): np.eye(n) for i, n in enumerate(layout.sizes)})
