"""Whether H(R) and S(R) have the symmetry of their structure, and the projection onto it.

An operation W, t with W f_p + t = f_p' + T_p takes block (p, q, R) to (p', q', W R + T_q - T_p) and turns it:
H' = U_p H U_q^+, U the rotation of the orbitals (and of the spin). A covariant matrix equals its images.
"""

import itertools
from dataclasses import dataclass, field, replace

import numpy as np

from ..blocks import BlockMatrix
from ..structure import Structure
from .bloch import BlochSum
from .eigen import solve_bloch
from .kmesh import describe_kpt
from .space_group import SpaceGroup, find_space_group

# Energies closer than this in the symmetrized Hamiltonian are one level, eV.
DEGENERACY = 1e-6


@dataclass(frozen=True, eq=False)
class SymmetryReport:
    """How far H and S are from the symmetry of the structure; residuals are largest absolute elements.

    group: the space group, or the layer group of a slab; hamiltonian (G,) eV, overlap (G,): residual under each operation;
    hermiticity and time_reversal of H, eV; degeneracies: at each of ``kpts`` (K, 3), how many states the little group
    of k keeps together in each level, from the lowest; splitting (K,): by how much the worst of these levels is split in
    H, eV; expected_error: of the model that made H, eV, the scale for all this; for print: names, {name: (P, 3)} k-points, and
    rotations, how well the model follows those that are no symmetry.
    """

    group: SpaceGroup
    hamiltonian: np.ndarray
    overlap: np.ndarray
    hermiticity: float
    time_reversal: float
    kpts: np.ndarray
    degeneracies: tuple[tuple[int, ...], ...]
    splitting: np.ndarray
    expected_error: float | None = None
    names: dict[str, np.ndarray] = field(default_factory=dict)
    rotations: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.group.name}: {len(self.group)} operations",
            f"{'largest residual':<34}{'H (meV)':>12}{'S':>12}",
            f"{'space group':<34}{1e3 * self.hamiltonian.max():>12.2e}{self.overlap.max():>12.2e}",
            f"{'  mean over operations':<34}{1e3 * self.hamiltonian.mean():>12.2e}{self.overlap.mean():>12.2e}",
            f"{'hermiticity':<34}{1e3 * self.hermiticity:>12.2e}",
            f"{'time reversal':<34}{1e3 * self.time_reversal:>12.2e}",
        ]
        if self.expected_error is not None:
            lines.append(f"{'largest H MAE over the test sets':<34}{1e3 * self.expected_error:>12.2e}")
        if self.rotations:
            lines.append(f"{'equivariance of the model':<34}  {self.rotations}")
        lines.append(f"{'levels at':<34}{'split (meV)':>12}  degeneracies by symmetry, from the lowest level")
        for k, split, degeneracies in zip(self.kpts, self.splitting, self.degeneracies, strict=True):
            lines.append(f"{describe_kpt(k, self.names):<34}{1e3 * split:>12.2e}  {' '.join(str(n) for n in degeneracies)}")
        return "\n".join(lines)


def find_symmetry(
    sums: BlochSum,
    structure: Structure,
    *,
    kpts=((0.0, 0.0, 0.0),),
    below: float = np.inf,
    moments=None,
    tolerance: float = 1e-4,
) -> SymmetryReport:
    """Residuals of H (eV) and S under every operation of the structure, and splittings at kpts (K, 3).

    moments (N, 3): magnetic moments, Cartesian; operations are those of the magnetic group, whose part without time
    reversal is reported; None: no magnetism. tolerance: of the search for operations, Angstrom. A splitting compares the
    levels of H under ``below`` eV with those of its part that has the whole symmetry, time reversal included: what the
    little group of k makes degenerate there should be so here.
    """
    hamiltonian, overlap = sums.hamiltonian, sums.complete_overlap
    if len(structure) != hamiltonian.layout.n_atoms:
        raise ValueError(f"the structure has {len(structure)} atoms, the Hamiltonian {hamiltonian.layout.n_atoms}")
    whole = find_space_group(structure, tolerance=tolerance)
    moments = np.zeros((len(structure), 3)) if moments is None else moments
    group, reversing = (whole.select(whole.keep_moments(moments, sign=sign)) for sign in (1, -1))
    kpts = np.atleast_2d(np.asarray(kpts, dtype=float))
    symmetric = symmetrize(hamiltonian, group)
    if len(reversing):
        symmetric = 0.5 * (symmetric + symmetrize(reverse_time(hamiltonian), reversing))
    ideal = solve_bloch(BlochSum(symmetric, symmetrize(overlap, whole), sums.hamiltonian_error), kpts).energies
    found = solve_bloch(sums, kpts).energies
    n = min(ideal.shape[1], found.shape[1])  # a mode of S at the threshold may be dropped in one of them only
    levels = [_find_levels(energies[:n], below) for energies in ideal]
    return SymmetryReport(
        group,
        covariance_residuals(hamiltonian, group),
        covariance_residuals(overlap, group),
        hamiltonian.hermiticity_residual(),
        time_reversal_residual(hamiltonian),
        kpts,
        tuple(tuple(level.stop - level.start for level in at_k) for at_k in levels),
        np.array([max((np.ptp(e[x]) for x in at_k), default=0.0) for e, at_k in zip(found, levels, strict=True)]),
        sums.hamiltonian_error or None,
    )


def covariance_residuals(matrix: BlockMatrix, group: SpaceGroup) -> np.ndarray:
    """(G,) largest |M(image) - U M U^+| over all blocks, for each operation; a missing image counts as zero."""
    return np.array([float(np.abs(_image(matrix, group, g) - matrix.values).max(initial=0.0)) for g in range(len(group))])


def symmetrize(matrix: BlockMatrix, group: SpaceGroup) -> BlockMatrix:
    """The part of ``matrix`` that is invariant under the group: the mean of its images.

    The result has the blocks of the matrix and their images.
    """
    closed = matrix.restricted_to(_closure(matrix, group))
    total = _image(closed, group, 0)
    for g in range(1, len(group)):
        total = total + _image(closed, group, g)
    return replace(closed, values=total / len(group))


def pull_back(matrix: BlockMatrix, group: SpaceGroup, operation: int) -> BlockMatrix:
    """The matrix M' of which ``matrix`` is the image under an operation.

    If M is of a structure with one atom displaced by u, M' is of the one with the atom it comes from displaced by Q^T u.
    """
    same = (group.images[:, group.images[operation]] == np.arange(group.images.shape[1])).all(axis=1)
    turned_back = (group.rotations @ group.rotations[operation] == np.eye(3, dtype=int)).all(axis=(1, 2))
    inverse = int(np.nonzero(same & turned_back)[0][0])
    keys = _image_keys(matrix, group, inverse)
    closed = matrix.restricted_to(_store_keys(matrix, keys))
    return replace(closed, values=_image(closed, group, operation))


def reverse_time(matrix: BlockMatrix) -> BlockMatrix:
    """Theta M Theta^-1: Theta is complex conjugation, times i sigma_y for spinors."""
    if not np.iscomplexobj(matrix.values) and matrix.spin == "none":
        return matrix
    values = matrix.values.conj()
    if matrix.spin == "spinor":
        parts = []
        for _, block in matrix.items():  # noqa: PERF102
            rows, columns = block.shape[0] // 2, block.shape[1] // 2
            (uu, ud), (du, dd) = (np.split(half, [columns], axis=1) for half in np.split(block.conj(), [rows]))
            parts.append(np.block([[dd, -du], [-ud, uu]]).ravel())
        values = np.concatenate(parts)
    return replace(matrix, values=values)


def time_reversal_residual(matrix: BlockMatrix) -> float:
    """Largest |M - Theta M Theta^-1|."""
    return float(np.abs(matrix.values - reverse_time(matrix).values).max(initial=0.0))


def _image(matrix: BlockMatrix, group: SpaceGroup, operation: int) -> np.ndarray:
    """U^+ M(image) U for each stored block, as flat values: equal to ``matrix.values`` if M is covariant."""
    target = _image_keys(matrix, group, operation)
    values = np.zeros(len(matrix.values), dtype=np.result_type(matrix.values, complex if matrix.n_spin == 2 else float))
    layout = matrix.layout
    found = _find_blocks(matrix, target)
    kinds = np.array([layout.shells.index(shells) for shells in layout.shells])  # atoms whose orbitals turn alike
    turns = {kind: group.orbital_rotation(operation, layout, kind, matrix.n_spin) for kind in set(kinds.tolist())}
    pair_kinds = np.ravel_multi_index(tuple(kinds[matrix.pairs].T), (layout.n_atoms, layout.n_atoms))
    for pair_kind in np.unique(pair_kinds).tolist():
        members = np.nonzero((pair_kinds == pair_kind) & (found >= 0))[0]
        if not len(members):
            continue
        first, second = (turns[kind] for kind in divmod(pair_kind, layout.n_atoms))
        inside = np.arange(len(first) * len(second))
        images = matrix.values[matrix.offsets[found[members]][:, None] + inside]
        # Two products of large matrices, which take less time than many of small ones.
        half = (images.reshape(-1, len(second)) @ second).reshape(-1, len(first), len(second))
        turned = np.tensordot(half, first.conj(), axes=(1, 0)).swapaxes(1, 2)
        values[matrix.offsets[members][:, None] + inside] = turned.reshape(len(members), -1)
    return values


def _image_keys(matrix: BlockMatrix, group: SpaceGroup, operation: int) -> np.ndarray:
    """(B, 5) atoms and cell of the image of each block."""
    i, j = matrix.pairs.T
    images, cells = group.images[operation], group.cells[operation]
    shifts = matrix.shifts @ group.rotations[operation].T + cells[j] - cells[i]
    return np.column_stack([images[i], images[j], shifts])


def _find_blocks(matrix: BlockMatrix, keys: np.ndarray) -> np.ndarray:
    """Number of the block with each key (i, j, R), -1 where none is stored."""
    stored = np.column_stack([matrix.pairs, matrix.shifts])
    together = np.vstack([stored, keys])
    lowest = together.min(axis=0)
    codes = np.ravel_multi_index(tuple((together - lowest).T), tuple(together.max(axis=0) - lowest + 1))
    order = np.argsort(codes[: len(stored)])
    wanted = codes[len(stored) :]
    place = np.minimum(np.searchsorted(codes[: len(stored)], wanted, sorter=order), len(stored) - 1)
    return np.where(codes[order[place]] == wanted, order[place], -1)


def _closure(matrix: BlockMatrix, group: SpaceGroup) -> BlockMatrix:
    """A zero matrix that stores the blocks of ``matrix`` and all their images."""
    keys = np.unique(np.concatenate([_image_keys(matrix, group, g) for g in range(len(group))]), axis=0)
    return _store_keys(matrix, keys)


def _store_keys(matrix: BlockMatrix, keys: np.ndarray) -> BlockMatrix:
    """A zero matrix that stores the blocks of ``matrix`` and those of keys (B, 5)."""
    missing = keys[_find_blocks(matrix, keys) < 0]
    pairs, shifts = np.vstack([matrix.pairs, missing[:, :2]]), np.vstack([matrix.shifts, missing[:, 2:]])
    sizes = (matrix.n_spin * matrix.layout.sizes[pairs]).prod(axis=1)
    return BlockMatrix(matrix.layout, pairs, shifts, np.zeros(sizes.sum(), dtype=matrix.values.dtype), matrix.spin)


def _find_levels(energies: np.ndarray, below: float) -> list[slice]:
    """The states of each level that begins under ``below``; energies (n,) ascending."""
    edges = np.concatenate([[0], np.nonzero(np.diff(energies) > DEGENERACY)[0] + 1, [len(energies)]]).tolist()
    return [slice(first, last) for first, last in itertools.pairwise(edges) if energies[first] < below]
