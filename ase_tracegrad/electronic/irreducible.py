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

# Energies are compared at this many random k-points.
N_CHECKS = 3
# Energies at generic k-points change in first order of what breaks a symmetry: where they agree so much better than the
# tolerance, the elements of the matrices need no look.
CERTAIN = 1e-2


def reduce_mesh(
    mesh: KMesh,
    sums: BlochSum,
    structure: Structure,
    *,
    tolerance: float = 1e-3,
    below: float = np.inf,
) -> KMesh:
    """The mesh reduced by time reversal and by the operations that the matrices obey.

    E(k) is compared with E(W k) at random k, for bands under ``below`` eV and generators W of the group. If they differ by
    more than a hundredth of ``tolerance`` eV, only operations are used under which no element of H changes by more than
    ``tolerance`` (of S, by a tenth of that per eV); if E(k) and E(W k) then differ by more than ``tolerance`` the mesh is
    reduced by time reversal alone, and the reason is logged.
    Time reversal is held to the same tolerance: without it (magnetism) a mesh that was reduced by it is solved in full.
    """
    with_reversal = reduce_by_time_reversal(mesh, sums.hamiltonian, sums.overlap, tolerance=tolerance)
    group = find_space_group(structure)
    if _energy_difference(sums, group, below) <= CERTAIN * tolerance:
        return with_reversal.reduced_by(group.reciprocal_rotations)
    obeyed = _find_obeyed(sums.hamiltonian, sums.overlap, group, tolerance)
    if obeyed.sum() <= 1:
        logger.info("k-points are not reduced by rotations: H obeys none of the %d operations of %s", len(group), group.name)
        return with_reversal
    subgroup = group.select(obeyed)
    difference = _energy_difference(sums, subgroup, below)
    if difference > tolerance:
        logger.info(
            "k-points are not reduced by rotations: E(k) and E(Wk) differ by %.2g eV (tolerance %.2g eV)", difference, tolerance
        )
        return with_reversal
    if obeyed.sum() < len(group):
        logger.info("H obeys %d of the %d operations of %s; only these reduce the k-points", obeyed.sum(), len(group), group.name)
    return with_reversal.reduced_by(subgroup.reciprocal_rotations)


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


def _energy_difference(sums: BlochSum, group: SpaceGroup, below: float) -> float:
    """Largest |E(k) - E(W k)| of bands under ``below`` at N_CHECKS random k and generators W of the group."""
    rotations = group.select(group.find_generators()).reciprocal_rotations
    kpts = np.random.default_rng(0).uniform(-0.5, 0.5, size=(N_CHECKS, 3))
    images = np.einsum("gab,kb->gka", rotations, kpts).reshape(-1, 3)
    energies = solve_bloch(sums, np.vstack([kpts, images])).energies
    first, others = energies[:N_CHECKS], energies[N_CHECKS:].reshape(len(rotations), N_CHECKS, energies.shape[1])
    return float(np.abs(others - first)[:, first < below].max(initial=0.0))
