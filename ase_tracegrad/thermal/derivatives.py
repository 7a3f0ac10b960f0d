"""dH/du and dS/du: how the matrices of a crystal change when one of its atoms moves."""

import itertools
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from scipy import linalg

from ..basis import Basis
from ..blocks import BlockMatrix
from ..electronic.space_group import SpaceGroup, find_space_group
from ..electronic.symmetry import pull_back
from ..overlap import find_table
from ..structure import Structure
from .phonons import repeat_primitive, supercell_matrix, to_phonopy

# Of the gradient of an orbital on its own atom.
GRADIENT_STEP = 1e-3  # Angstrom
# Three unit vectors whose last one is nearer to the plane of the others do not span space well.
SMALLEST_ANGLE = 0.05


@dataclass(frozen=True, eq=False)
class MatrixDerivatives:
    """Derivatives by the position of each of the n atoms of the primitive cell at the origin, its images in the supercell moving
    with it.

    primitive; supercell, its atoms in the order of repeat_primitive; cells (C, 3): of its primitive cells; hamiltonian[a][x]
    (eV/Angstrom) and overlap[a][x] (1/Angstrom): BlockMatrix of the supercell for atom a and direction x; basis of the orbitals;
    displaced: how many structures were computed.
    """

    primitive: Atoms
    supercell: Atoms
    cells: np.ndarray
    hamiltonian: tuple[tuple[BlockMatrix, ...], ...]
    overlap: tuple[tuple[BlockMatrix, ...], ...]
    basis: Basis
    displaced: int


def compute_derivatives(calc, primitive: Atoms, supercell, *, distance: float = 0.01) -> MatrixDerivatives:
    """Central differences of +-``distance`` Angstrom along phonopy's symmetry-reduced displacements; symmetry gives the rest.

    calc: TraceGradCalculator, best in float64: rounding is divided by the distance; supercell: (3,) or (3, 3) int, larger than
    the reach of H, so that what two images of the atom change does not overlap. Exact symmetry of H is assumed, which an
    equivariant model has.
    """
    matrix = supercell_matrix(supercell)
    large, cells = repeat_primitive(primitive, matrix)
    group = find_space_group(Structure.from_atoms(large))
    measured = [
        (atom, direction, *_difference(calc, large, atom, distance * direction))
        for atom, direction in _find_displacements(primitive, matrix)
    ]
    found = [_rotate(measured, group, atom) for atom in range(len(primitive))]
    return MatrixDerivatives(
        primitive,
        large,
        cells,
        tuple(h for h, _ in found),
        tuple(s for _, s in found),
        calc.predictor.basis,
        2 * len(measured),
    )


def orbital_gradients(basis: Basis, number: int) -> np.ndarray:
    """(3, n, n) 1/Angstrom: <phi_i | d phi_j / du> of the orbitals of one atom of an element, u the position of phi_j."""
    steps = GRADIENT_STEP * np.eye(3)
    ahead, back = (find_table(basis[number], basis[number])(sign * steps) for sign in (1, -1))
    return np.moveaxis(ahead - back, -1, 0) / (2 * GRADIENT_STEP)


def _find_displacements(primitive: Atoms, matrix: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Atom of the primitive cell and unit vector of each displacement that symmetry does not give from another."""
    phonons = Phonopy(to_phonopy(primitive), matrix, primitive_matrix="P")
    phonons.generate_displacements(distance=1.0, is_plusminus=False)
    site = phonons.primitive.p2p_map
    found = []
    for number, *vector in phonons.displacements:
        found.append((int(site[phonons.primitive.s2p_map[int(number)]]), np.array(vector) / np.linalg.norm(vector)))
    return found


def _difference(calc, supercell: Atoms, atom: int, step: np.ndarray) -> tuple[BlockMatrix, BlockMatrix]:
    """dH and dS per Angstrom along the step."""
    samples = []
    for sign in (1, -1):
        moved = supercell.copy()
        moved.positions[atom] += sign * step
        samples.append(calc.sample(moved))
    scale = 1 / (2 * np.linalg.norm(step))
    ahead, back = samples
    return scale * (ahead.hamiltonian - back.hamiltonian), scale * (ahead.overlap - back.overlap)


def _rotate(measured: list[tuple], group: SpaceGroup, atom: int) -> tuple[tuple[BlockMatrix, ...], tuple[BlockMatrix, ...]]:
    """dH and dS along x, y, z of one atom, from three measured displacements that symmetry brings to it."""
    sources = [(m, g) for m, (displaced, *_) in enumerate(measured) for g in np.nonzero(group.images[:, atom] == displaced)[0]]
    directions = np.array([group.cartesian[g].T @ measured[m][1] for m, g in sources])
    # The three that are least parallel.
    _, triangle, order = linalg.qr(directions.T, pivoting=True)
    if len(order) < 3 or abs(triangle[2, 2]) < SMALLEST_ANGLE:
        raise ValueError(
            f"the displacements of atom {atom} do not span three directions: the supercell has less symmetry than the crystal; "
            "take one with the symmetry of the lattice"
        )
    chosen = order[:3]
    inverse = np.linalg.inv(directions[chosen])
    found = []
    for kind in (2, 3):
        turned = [pull_back(measured[m][kind], group, g) for m, g in (sources[c] for c in chosen)]
        found.append(tuple(row[0] * turned[0] + row[1] * turned[1] + row[2] * turned[2] for row in inverse.tolist()))
    return found[0], found[1]


def nearest_images(derivatives: MatrixDerivatives, matrix: BlockMatrix, atom: int) -> dict[tuple[int, int], tuple]:
    """The blocks of one derivative around the displaced atom at the origin, not around its images.

    {(i, j): (p (B, 3), p' (B, 3), weights (B,), blocks (B, n_i, n_j))}: sites i and j of the primitive cell, in its cells p and p'.
    Of all translations of a block by the supercell, the one with both its atoms nearest to the displaced atom; equally near ones
    share it.
    """
    n = len(derivatives.primitive)
    positions, cell = derivatives.supercell.positions, derivatives.supercell.cell.array
    first, second = matrix.pairs.T
    start = positions[first] - positions[atom]
    end = positions[second] + matrix.shifts @ cell - positions[atom]
    middle = np.rint(-0.5 * (start + end) @ np.linalg.inv(cell)).astype(int)
    trials = middle[:, None] + np.array(list(itertools.product((-1, 0, 1), repeat=3)))[None]
    moves = trials @ cell
    lengths = np.linalg.norm(start[:, None] + moves, axis=-1) + np.linalg.norm(end[:, None] + moves, axis=-1)
    nearest = lengths < lengths.min(axis=1, keepdims=True) + 1e-3
    block, choice = np.nonzero(nearest)
    lattice = np.rint(cell @ np.linalg.inv(derivatives.primitive.cell.array)).astype(int)
    move = trials[block, choice] @ lattice
    p = derivatives.cells[first[block] // n] + move
    p_end = derivatives.cells[second[block] // n] + matrix.shifts[block] @ lattice + move
    weights = 1 / nearest.sum(axis=1)[block]
    sites = first[block] % n, second[block] % n
    found = {}
    for i, j in itertools.product(range(n), range(n)):
        at = np.nonzero((sites[0] == i) & (sites[1] == j))[0]
        if len(at):
            size = tuple(matrix.shapes[block[at[0]]])
            values = matrix.values[matrix.offsets[block[at]][:, None] + np.arange(size[0] * size[1])]
            found[i, j] = p[at], p_end[at], weights[at], values.reshape(-1, *size)
    return found
