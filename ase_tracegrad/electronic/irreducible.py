"""Irreducible k-points: used only where the Hamiltonian was seen to have the symmetry of its structure."""

import logging

import numpy as np

from ..blocks import BlockMatrix
from ..structure import Structure
from .bloch import BlochSum
from .eigen import solve_bloch
from .kmesh import KMesh
from .space_group import SpaceGroup, find_space_group
from .symmetry import covariance_residuals, time_reversal_residual

logger = logging.getLogger(__name__)

# A generic k-point and two more are solved at k and at an image of k.
N_CHECKS = 3


def reduce_mesh(
    mesh: KMesh,
    sums: BlochSum,
    structure: Structure,
    *,
    tolerance: float = 1e-3,
    below: float = np.inf,
) -> KMesh:
    """The mesh reduced by time reversal and by the operations that the matrices obey.

    An operation is used if no element of H changes by more than ``tolerance`` eV under it (of S, by a
    tenth of that per eV). Then E(k) is compared with E(W k) at random k, for bands under ``below`` eV;
    if they differ by more than ``tolerance`` the mesh is reduced by time reversal alone, and the reason is logged.
    Time reversal is held to the same tolerance: without it (magnetism) a mesh that was reduced by it is solved in full.
    """
    with_reversal = reduce_by_time_reversal(mesh, sums.hamiltonian, sums.overlap, tolerance=tolerance)
    group = find_space_group(structure)
    obeyed = _find_obeyed(sums.hamiltonian, sums.overlap, group, tolerance)
    if obeyed.sum() <= 1:
        logger.info("k-points are not reduced by rotations: H obeys none of the %d operations of %s", len(group), group.name)
        return with_reversal
    rotations = group.select(obeyed).reciprocal_rotations
    difference = _energy_difference(sums, rotations, below)
    if difference > tolerance:
        logger.warning(
            "k-points are not reduced by rotations: E(k) and E(Wk) differ by %.2g eV (tolerance %.2g eV)", difference, tolerance
        )
        return with_reversal
    if obeyed.sum() < len(group):
        logger.info("H obeys %d of the %d operations of %s; only these reduce the k-points", obeyed.sum(), len(group), group.name)
    return with_reversal.reduced_by(rotations)


def reduce_by_time_reversal(
    mesh: KMesh, hamiltonian: BlockMatrix, overlap: BlockMatrix | None, *, tolerance: float = 1e-3
) -> KMesh:
    """One of k and -k if H changes by at most ``tolerance`` eV under time reversal (S by a tenth), else all points."""
    residual = max(time_reversal_residual(hamiltonian), 10 * time_reversal_residual(overlap) if overlap is not None else 0.0)
    if residual <= tolerance:
        return mesh.reduced_by(-np.eye(3, dtype=int)[None])
    logger.info("k and -k are both solved: H changes by %.2g eV under time reversal", residual)
    return mesh.unreduced()


def _find_obeyed(hamiltonian: BlockMatrix, overlap: BlockMatrix | None, group: SpaceGroup, tolerance: float) -> np.ndarray:
    """(G,) operations under which H and S are invariant: all, if the generators are, else one by one."""

    def obeys(operations: SpaceGroup) -> np.ndarray:
        of_h = covariance_residuals(hamiltonian, operations) <= tolerance
        return of_h if overlap is None else of_h & (covariance_residuals(overlap, operations) <= 0.1 * tolerance)

    return np.ones(len(group), dtype=bool) if obeys(group.select(group.find_generators())).all() else obeys(group)


def _energy_difference(sums: BlochSum, rotations: np.ndarray, below: float) -> float:
    """Largest |E(k) - E(W k)| of bands under ``below`` at N_CHECKS random k, each with another operation."""
    rng = np.random.default_rng(0)
    kpts = rng.uniform(-0.5, 0.5, size=(N_CHECKS, 3))
    chosen = rotations[rng.integers(1, len(rotations), size=N_CHECKS)]
    images = np.einsum("kab,kb->ka", chosen, kpts)
    energies = solve_bloch(sums, np.vstack([kpts, images])).energies
    first, second = energies[:N_CHECKS], energies[N_CHECKS:]
    compared = first < below
    return float(np.abs(first - second)[compared].max(initial=0.0))
