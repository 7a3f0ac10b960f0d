"""ElectronicStructure: Fermi level, gap and density of states of one Sample, predicted or from a DFT code."""

import math
from dataclasses import dataclass

import numpy as np

from .electronic.dos import compute_dos, compute_dos_tetrahedron
from .electronic.eigen import solve_bands
from .electronic.gap import BandGap, find_band_gap
from .electronic.kmesh import KMesh
from .electronic.occupations import compute_occupations, find_fermi_level
from .io.sample import Sample

# A gap above this counts as one: rounding at a touching point is no overlap of bands.
TOUCHING = -1e-6  # eV
# Bands along an axis with no larger matrix element than this across it are flat; DFT codes write the tails in the vacuum.
DISPERSION = 1e-3  # eV


@dataclass(frozen=True, eq=False)
class ElectronicStructure:
    """What follows from H(R), S(R) and the number of electrons."""

    sample: Sample

    @property
    def n_electrons(self) -> float:
        """From the sample's info, else the valence electrons of the neutral structure."""
        stored = self.sample.info.get("n_electrons")
        return float(stored) if stored is not None else self.sample.basis.count_electrons(self.sample.structure.numbers)

    @property
    def spin_degeneracy(self) -> int:
        """Electrons per state: 2, or 1 for spinors."""
        return 1 if self.sample.hamiltonian.spin == "spinor" else 2

    @property
    def dispersive(self) -> np.ndarray:
        """(3,) bool: periodic axes along which some orbitals couple by more than DISPERSION; false across vacuum."""
        hamiltonian = self.sample.hamiltonian
        strong = np.maximum.reduceat(np.abs(hamiltonian.values), hamiltonian.offsets[:-1]) > DISPERSION
        return (hamiltonian.shifts[strong] != 0).any(axis=0) & self.sample.structure.pbc

    def energies(self, kpts, *, progress: bool = False) -> np.ndarray:
        """(K, n) eV at kpts (K, 3) fractional."""
        error = self.sample.info.get("hamiltonian_error", 0.0)
        return solve_bands(self.sample.hamiltonian, self.sample.overlap, kpts, hamiltonian_error=error, progress=progress).energies

    def find_fermi_level(self, mesh: KMesh, *, edges=(), width: float = 0.0) -> float:
        """Fermi level in eV by electron count on a mesh; width: Fermi-Dirac smearing in eV.

        edges (E, 3): k-points besides the mesh that may hold a band edge. Without smearing the level lies
        in the middle of a gap: on a band edge, noise in the edge would close the gap.
        """
        energies, kpts = self._solve_with(mesh.kpts, edges, False)
        if width == 0.0 and self.n_electrons < self.spin_degeneracy * energies.shape[1]:
            gap = find_band_gap(energies, kpts, self.n_electrons, spin_degeneracy=self.spin_degeneracy)
            if gap.n_filled is not None and gap.gap > TOUCHING:
                return (gap.vbm + gap.cbm) / 2
        return find_fermi_level(energies[: len(mesh.kpts)], mesh.weights, self.n_electrons, **self._smearing(width))

    def find_band_gap(self, kpts, *, edges=(), progress: bool = False) -> BandGap:
        """The gap by electron count on kpts (K, 3) and edges (E, 3); ValueError when the basis holds no empty band."""
        energies, kpts = self._solve_with(kpts, edges, progress)
        return find_band_gap(energies, kpts, self.n_electrons, spin_degeneracy=self.spin_degeneracy)

    def compute_dos(self, mesh: KMesh, grid, *, width: float, progress: bool = False) -> np.ndarray:
        """States per eV and cell, both spins, at the energies ``grid`` (G,) eV; width: Gaussian sigma in eV, 0: tetrahedra."""
        if not 0 <= width < math.inf:
            raise ValueError(f"width must be zero (tetrahedra) or a positive energy in eV, found {width!r}")
        energies = self.energies(mesh.kpts, progress=progress)
        if width > 0:
            return compute_dos(energies, mesh.weights, grid, width=width, spin_degeneracy=self.spin_degeneracy)
        cell = self.sample.structure.complete_cell
        return compute_dos_tetrahedron(mesh.unfold(energies), cell, grid, spin_degeneracy=self.spin_degeneracy)

    def occupations(self, energies, fermi_level: float, *, width: float = 0.0) -> np.ndarray:
        """Electrons per state, shape of energies; width: Fermi-Dirac smearing in eV."""
        return compute_occupations(energies, fermi_level, **self._smearing(width))

    def _smearing(self, width: float) -> dict:
        return {"spin_degeneracy": self.spin_degeneracy, "width": width, "method": "fermi-dirac" if width else "fixed"}

    def _solve_with(self, kpts, edges, progress: bool) -> tuple[np.ndarray, np.ndarray]:
        """Energies at both lists in one call, so that all have the same number of bands."""
        kpts = np.concatenate([np.asarray(kpts, dtype=float), np.asarray(edges, dtype=float).reshape(-1, 3)])
        return self.energies(kpts, progress=progress), kpts
