"""What is asked for of one structure, from its H(R) and S(R), as the columns of a row."""

from typing import Any

import numpy as np
from ase import Atoms

from ..electronic.gap import BandGap
from ..electronic.space_group import find_space_group
from ..electronic.symmetry import covariance_residuals, time_reversal_residual
from ..electronic_structure import ElectronicStructure
from ..io.sample import Sample
from ..kpoints import dos_mesh, make_band_path, normalise_kpts, special_points
from .settings import ScreenSettings


def analyse(sample: Sample, atoms: Atoms, settings: ScreenSettings) -> dict[str, Any]:
    """Columns of shards.PROPERTY_COLUMNS for the properties of the settings; energies in eV.

    Raises ValueError with the reason where a quantity does not exist, FloatingPointError for a prediction that is not finite.
    """
    if not (np.isfinite(sample.hamiltonian.values).all() and np.isfinite(sample.overlap.values).all()):
        raise FloatingPointError("the predicted Hamiltonian holds numbers that are not finite")
    solved = ElectronicStructure(sample)
    row: dict[str, Any] = {"n_electrons": solved.n_electrons, "n_orbitals": sample.hamiltonian.n_orbitals}
    if "gap" in settings.properties:
        row |= _levels(solved, atoms, settings)
    if "bands" in settings.properties:
        row |= _bands(solved, atoms, settings)
    if "dos" in settings.properties:
        grid = settings.dos_grid + row["fermi_level"]
        mesh = normalise_kpts(dos_mesh(atoms), atoms).mesh
        row["dos"] = solved.compute_dos(mesh, grid, width=settings.dos_width).astype(np.float32)
    if "symmetry" in settings.properties:
        row |= _symmetry(sample, settings)
    return row


def _levels(solved: ElectronicStructure, atoms: Atoms, settings: ScreenSettings) -> dict[str, Any]:
    mesh = normalise_kpts(settings.kpts, atoms).mesh
    if mesh.size is None:
        raise ValueError("gap and Fermi level need a mesh of k-points such as (12, 12, 1), found a path or a list")
    fermi_level, gap = solved.find_fermi_level_and_gap(mesh, edges=special_points(atoms))
    return {"fermi_level": fermi_level} | ({} if gap is None else describe_gap(gap))


def describe_gap(gap: BandGap) -> dict[str, Any]:
    """The columns of a gap; a metal's gap is 0, and ``overlap`` says by how much its bands overlap."""
    columns = {"kind": gap.kind, "gap": max(gap.gap, 0.0), "overlap": max(-gap.gap, 0.0), "direct": gap.is_direct}
    columns |= {name: getattr(gap, name) for name in ("direct_gap", "vbm", "cbm")}
    return columns | {name: getattr(gap, name).tolist() for name in ("k_vbm", "k_cbm", "k_direct")}


def _bands(solved: ElectronicStructure, atoms: Atoms, settings: ScreenSettings) -> dict[str, Any]:
    path = make_band_path(atoms, settings.path, settings.npoints if atoms.pbc.any() else None, dispersive=solved.dispersive)
    return {
        "bands_path": path.path,
        "bands_kpts": path.kpts.tolist(),
        "bands": solved.energies(path.kpts).astype(np.float32).tolist(),
    }


def _symmetry(sample: Sample, settings: ScreenSettings) -> dict[str, Any]:
    group = find_space_group(sample.structure, tolerance=settings.tolerance)
    return {
        "space_group": group.name,
        "n_operations": len(group),
        "symmetry_error": float(covariance_residuals(sample.hamiltonian, group).max()),
        "time_reversal_error": time_reversal_residual(sample.hamiltonian),
    }
