"""ReciprocalSpace: what the calculator answers about bands, densities of states, gaps, charges and symmetry."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from ase.spectrum.band_structure import BandStructure
from ase.spectrum.doscollection import GridDOSCollection
from ase.spectrum.dosdata import GridDOSData

from .electronic.gap import BandGap
from .electronic.kmesh import KMesh
from .electronic.populations import Populations
from .electronic.projections import Population, name_group
from .electronic.symmetry import SymmetryReport, find_symmetry
from .electronic_structure import ElectronicStructure
from .kpoints import dos_mesh, make_band_path, named_points, normalise_kpts, special_points
from .structure import Structure


class ReciprocalSpace:
    """The part of TraceGradCalculator that asks ElectronicStructure; ``atoms`` defaults to the attached ones everywhere."""

    parameters: Any
    default_parameters: dict[str, Any]
    predictor: Any
    electronic_structure: Callable[..., ElectronicStructure]
    _current_atoms: Callable[..., Any]
    _fermi_level: Callable[..., float]

    def band_structure(self, path=None, npoints: int | None = None, *, atoms=None, progress: bool = True) -> BandStructure:
        """Bands along a path, ase.spectrum.band_structure.BandStructure, reference = Fermi level.

        path: special points ('GMKG'), 'seekpath', a BandPath, or None: the path in ``kpts`` if there is one, else the
        standard path of the lattice, without directions along which nothing couples (vacuum).
        """
        atoms = self._current_atoms(atoms)
        structure, path = self._along(path, npoints, atoms)
        energies = structure.energies(path.kpts, progress=progress)
        return BandStructure(path, energies[None], reference=self._fermi_level(atoms, progress))

    def fat_bands(
        self,
        path=None,
        npoints: int | None = None,
        *,
        by: str = "shell",
        method: Population = "loewdin",
        atoms=None,
        progress: bool = True,
    ) -> tuple[BandStructure, dict[str, np.ndarray]]:
        """Bands along a path as band_structure gives them, and the share (K, n) of each group of orbitals in each state.

        by: 'atom', 'element', 'shell' or 'orbital'; method: 'loewdin' (0 to 1) or 'mulliken'. The shares of a state
        add up to 1; plot.plot_fat_bands draws them.
        """
        atoms = self._current_atoms(atoms)
        structure, path = self._along(path, npoints, atoms)
        energies, shares, labels = structure.project(path.kpts, by=by, method=method, progress=progress)
        named = {name_group(label): shares[:, :, p] for p, label in enumerate(labels)}
        return BandStructure(path, energies[None], reference=self._fermi_level(atoms, progress)), named

    def dos(self, energies=None, *, width: float = 0.1, kpts=None, atoms=None, progress: bool = True) -> GridDOSData:
        """Density of states in states per eV and cell, both spins; energies relative to the Fermi level.

        energies: ascending grid in eV, by default from -30 to 15 in steps of 0.02; width: sigma of the
        Gaussian in eV, 0 for linear tetrahedra (the width of ase.dft.dos.DOS is sqrt(2) sigma);
        kpts: a mesh, by default that of the calculator, and if that was not set either, a Gamma-centred one that holds special
        points of the lattice (kpoints.dos_mesh); solved at its irreducible points if H has the symmetry.
        """
        atoms = self._checked_atoms(atoms)
        mesh, grid = self._dos_mesh(kpts, atoms), _make_grid(energies)
        fermi_level = self._fermi_level(atoms, progress)
        weights = self.electronic_structure(atoms).compute_dos(mesh, grid + fermi_level, width=width, progress=progress)
        return GridDOSData(grid, weights, info=_dos_info("DOS", fermi_level))

    def projected_dos(
        self,
        energies=None,
        *,
        by: str = "element",
        method: Population = "mulliken",
        width: float = 0.1,
        kpts=None,
        atoms=None,
        progress: bool = True,
    ) -> GridDOSCollection:
        """Density of states of each 'atom', 'element', 'shell' or 'orbital': one GridDOSData each, adding up to dos().

        ASE's collection selects and sums by the labels: .select(element='C', l='p'), .sum_by('element'), .plot().
        method: 'mulliken' or 'loewdin'; energies, width and kpts as for dos().
        """
        atoms = self._checked_atoms(atoms)
        mesh, grid = self._dos_mesh(kpts, atoms), _make_grid(energies)
        fermi_level = self._fermi_level(atoms, progress)
        structure = self.electronic_structure(atoms)
        parts, labels = structure.compute_projected_dos(
            mesh, grid + fermi_level, by=by, method=method, width=width, progress=progress
        )
        rows = zip(parts, labels, strict=True)
        return GridDOSCollection(
            [GridDOSData(grid, part, info=_dos_info(name_group(label), fermi_level) | label) for part, label in rows]
        )

    def band_gap(self, *, kpts=None, refine: bool | None = None, atoms=None, progress: bool = True) -> BandGap:
        """The gap by electron count, from the k-points of the calculator and the special points of the lattice.

        refine: follow the band edges off a mesh to the extrema next to them; None: for small matrices, where it is
        cheap. A negative gap is a band overlap; no Fermi level enters, so noise cannot close a gap.
        """
        atoms = self._checked_atoms(atoms)
        mesh = normalise_kpts(self.parameters["kpts"] if kpts is None else kpts, atoms).mesh
        structure = self.electronic_structure(atoms)
        gap = structure.find_band_gap(mesh, edges=special_points(atoms), refine=refine, progress=progress)
        return gap.with_names(named_points(atoms))

    def populations(self, *, method: Population = "mulliken", kpts=None, atoms=None, progress: bool = True) -> Populations:
        """Electrons and charge of each atom, by Mulliken or Loewdin; kpts: a mesh, by default that of the Fermi level."""
        atoms = self._checked_atoms(atoms)
        mesh = self._mesh(self.parameters["fermi_kpts"] if kpts is None else kpts, atoms, "the kpts of populations")
        structure = self.electronic_structure(atoms)
        return structure.compute_populations(mesh, method=method, width=self.parameters["width"], progress=progress)

    def symmetry_report(self, *, tolerance: float = 1e-4, atoms=None) -> SymmetryReport:
        """How far H and S are from the symmetry of the structure, beside the model's errors; prints as a table.

        tolerance: of the search for operations, Angstrom. Splittings are those of the levels below 5 eV above the
        Fermi level, at the special points of the lattice; time reversal counts as a symmetry (no magnetism).
        """
        atoms = self._current_atoms(atoms)
        structure, points, below = self.electronic_structure(atoms), special_points(atoms), self._fermi_level(atoms) + 5.0
        report = find_symmetry(structure.sums(), structure.sample.structure, kpts=points, below=below, tolerance=tolerance)
        return replace(report, names=named_points(atoms), rotations=self.predictor.equivariance)

    def get_bz_k_points(self) -> np.ndarray:
        """(F, 3) the whole mesh, in the order of ase.dft.kpoints.monkhorst_pack."""
        return np.array(normalise_kpts(self.parameters["kpts"], self._current_atoms(None)).mesh.full_kpts)

    def get_bz_to_ibz_map(self) -> np.ndarray:
        """(F,) which of get_ibz_k_points() stands for each point of the whole mesh."""
        return np.array(self._own_mesh().full_to_irreducible)

    def _own_mesh(self) -> KMesh:
        atoms = self._current_atoms(None)
        mesh = normalise_kpts(self.parameters["kpts"], atoms).mesh
        return self.electronic_structure(atoms).check_time_reversal(mesh)

    def _checked_atoms(self, atoms):
        """The atoms; a StructureError for those that cannot be right comes before anything about their k-points."""
        atoms = self._current_atoms(atoms)
        Structure.from_atoms(atoms)
        return atoms

    def _along(self, path, npoints: int | None, atoms):
        structure = self.electronic_structure(atoms)
        own = normalise_kpts(self.parameters["kpts"], atoms).path if path is None and npoints is None else None
        return structure, own or make_band_path(atoms, path, npoints, dispersive=structure.dispersive)

    def _dos_mesh(self, kpts, atoms) -> KMesh:
        if kpts is None:
            kpts = self.parameters["kpts"]
            if isinstance(kpts, dict) and kpts == self.default_parameters["kpts"]:
                kpts = dos_mesh(atoms)
        return self._mesh(kpts, atoms, "the kpts of a density of states")

    def _mesh(self, kpts, atoms, what: str) -> KMesh:
        mesh = normalise_kpts(kpts, atoms).mesh
        if mesh.size is None:
            raise InputError(f"{what} must be a k-point mesh such as (12, 12, 1), found a path or a list of points")
        return mesh


def _make_grid(energies) -> np.ndarray:
    if energies is None:
        return np.linspace(-30.0, 15.0, 2251)
    grid = np.asarray(energies, dtype=float)
    if grid.ndim != 1 or len(grid) < 2 or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
        raise InputError(f"energies: expected an ascending list of at least two finite energies in eV, found shape {grid.shape}")
    return grid


def _dos_info(label: str, fermi_level: float) -> dict[str, str]:
    return {"label": label, "energy_zero": "Fermi level", "fermi_level": f"{fermi_level:.6f} eV"}
