"""ElectronicStructure: Fermi level, gap and density of states of one Sample, predicted or from a DFT code."""

import logging
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .blocks import BlockKey
from .dipole import compute_dipole_integrals
from .electronic.bloch import BlochSum
from .electronic.dispersion import find_dispersive_axes
from .electronic.dos import compute_dos, compute_dos_tetrahedron
from .electronic.eigen import solve_bloch
from .electronic.extrema import find_neighbours
from .electronic.gap import BandGap, find_band_gap, find_edge_valleys, refine_band_gap
from .electronic.ghosts import GhostStateWarning, describe_ghost, find_lowest_orbital
from .electronic.inversion import Inversion, find_inversion
from .electronic.irreducible import reduce_by_time_reversal, reduce_mesh
from .electronic.kmesh import KMesh
from .electronic.molecule import Levels, compute_dipole, solve_levels
from .electronic.occupations import compute_occupations, find_fermi_level
from .electronic.populations import Populations
from .electronic.projections import Population, compute_populations, group_orbitals, project_bonds, project_states
from .io.sample import Sample
from .symbols import symbol_of
from .warn import warn_caller

logger = logging.getLogger(__name__)

# A gap above this counts as one: rounding at a touching point is no overlap of bands.
TOUCHING = -1e-6  # eV
# Bands along an axis with no larger matrix element than this across it are flat; DFT codes write the tails in the vacuum.
DISPERSION = 1e-3  # eV
# To verify the symmetry of H costs some ten solves: fewer k-points are solved as they are.
REDUCE_ABOVE = 24  # k-points
# To arrange the matrices that inversion makes real costs as much as it saves at this many k-points times orbitals
# (measured: 70 k-points of 26 orbitals, 11 of 208, 3 of 936).
INVERSION_ABOVE = 2500
# The search for a band edge solves some hundred k-points more.
SEARCHED = 100  # k-points at least
REFINE_UP_TO = 256  # orbitals
# Levels that touch at the Fermi level share their electrons, whichever of them noise puts lower.
SHARING_WIDTH = 1e-3  # eV


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
        """(3,) bool: periodic axes along which couplings above DISPERSION go on and on; false across vacuum."""
        return find_dispersive_axes(self.sample.hamiltonian, DISPERSION) & self.sample.structure.pbc

    def energies(self, kpts, *, progress: bool = False) -> np.ndarray:
        """(K, n) eV at kpts (K, 3) fractional. GhostStateWarning, once, if a state cannot be physical."""
        energies = solve_bloch(self.sums(len(kpts)), kpts, progress=progress).energies
        self._warn_of_ghosts(energies, kpts)
        return energies

    def _warn_of_ghosts(self, energies: np.ndarray, kpts):
        if not self._ghosts:
            ghost = describe_ghost(energies, np.asarray(kpts), self._lowest_orbital, self.sums().hamiltonian_error)
            if ghost is not None:
                self._ghosts.append(ghost)
                warn_caller(ghost, GhostStateWarning)

    def sums(self, n_kpts: int = 0) -> BlochSum:
        """H and S as every quantity solves them, arranged once; real by inversion where that pays for so many k-points.

        With the expected error of H in the sample's info, which may change at any time.
        """
        many = n_kpts * self.sample.hamiltonian.n_orbitals > INVERSION_ABOVE
        return (self._real_sums if many else self._sums).with_error(self.sample.info.get("hamiltonian_error", 0.0))

    @cached_property
    def _sums(self) -> BlochSum:
        return BlochSum(self.sample.hamiltonian, self.sample.overlap)

    @cached_property
    def _real_sums(self) -> BlochSum:
        return self._sums.with_inversion(self.inversion)

    def __getstate__(self) -> dict:
        """The sample; what is arranged from it would only make copies and files large."""
        return {"sample": self.sample}

    @cached_property
    def _ghosts(self) -> list[str]:
        """Those that were warned about."""
        return []

    @cached_property
    def _lowest_orbital(self) -> float:
        return find_lowest_orbital(self.sample.hamiltonian, self.sample.overlap)

    @cached_property
    def inversion(self) -> Inversion | None:
        """Of the structure; the solver uses it if H and S obey it."""
        return None if self.sample.hamiltonian.n_spin > 1 else find_inversion(self.sample.structure)

    def reduce(self, mesh: KMesh) -> KMesh:
        """The irreducible points of a mesh, if H and S are seen to have the symmetry of the structure; small meshes as they are.

        For sums of energies alone: rotations exchange the shares of atoms and orbitals. The reason for not reducing is logged.
        """
        mesh = self.check_time_reversal(mesh)
        if mesh.size is None or len(mesh) < REDUCE_ABOVE:
            return mesh
        try:
            return reduce_mesh(mesh, self.sums(), self.sample.structure)
        except ValueError as error:
            logger.warning("k-points are not reduced by rotations: %s", error)
            return mesh

    def check_time_reversal(self, mesh: KMesh) -> KMesh:
        """The mesh as it is if E(-k) = E(k) follows from time reversal, else all its points; lists as they are."""
        if mesh.size is None or len(mesh) == len(mesh.full_kpts):
            return mesh
        return reduce_by_time_reversal(mesh, self.sample.hamiltonian, self.sample.overlap)

    def find_fermi_level(self, mesh: KMesh, *, edges=(), width: float = 0.0, progress: bool = False) -> float:
        """Fermi level in eV by electron count on a mesh; width: Fermi-Dirac smearing in eV.

        edges (E, 3): k-points besides the mesh that may hold a band edge. Without smearing the level lies in the
        middle of a gap, found as by find_band_gap: on a band edge, noise in the edge would close the gap. Where bands
        overlap it lies between the two edges, wherever the mesh puts it.
        """
        if width == 0:
            return self.find_fermi_level_and_gap(mesh, edges=edges, progress=progress)[0]
        mesh = self.reduce(mesh)
        energies, _ = self._solve_with(mesh.kpts, edges, progress)
        return find_fermi_level(energies[: len(mesh.kpts)], mesh.weights, self.n_electrons, **self._smearing(width))

    def find_fermi_level_and_gap(
        self, mesh: KMesh, *, edges=(), refine: bool | None = None, progress: bool = False
    ) -> tuple[float, BandGap | None]:
        """Fermi level and gap as find_fermi_level and find_band_gap give them, from the same energies.

        None instead of the gap where the basis holds no empty band.
        """
        mesh = self.reduce(mesh)
        energies, kpts = self._solve_with(mesh.kpts, edges, progress)
        counted = find_fermi_level(energies[: len(mesh.kpts)], mesh.weights, self.n_electrons, **self._smearing(0.0))
        if self.n_electrons >= self.spin_degeneracy * energies.shape[1]:
            return counted, None
        gap = self._follow_edges(self._count_gap(energies, kpts), mesh, energies, refine)
        if gap.n_filled is None:
            return counted, gap
        return (gap.vbm + gap.cbm) / 2 if gap.gap > TOUCHING else float(np.clip(counted, gap.cbm, gap.vbm)), gap

    def find_band_gap(self, mesh: KMesh, *, edges=(), refine: bool | None = None, progress: bool = False) -> BandGap:
        """The gap by electron count on a mesh, or a list (kmesh.make_list), and at edges (E, 3), such as special points.

        refine: follow the edges to the extrema next to them, which needs a mesh; None: on a mesh, up to REFINE_UP_TO
        orbitals. Raises TypeError for bare k-points, ValueError to refine a list and when the basis holds no empty band.
        """
        if not isinstance(mesh, KMesh):
            raise TypeError(f"expected a KMesh, from kmesh.make_mesh(size) or make_list(kpts); found {type(mesh).__name__}")
        if refine and mesh.size is None:
            raise ValueError("a list of k-points has no spacing to refine from: give a mesh, or refine=None")
        mesh = self.reduce(mesh)
        energies, points = self._solve_with(mesh.kpts, edges, progress)
        return self._follow_edges(self._count_gap(energies, points), mesh, energies, refine)

    def compute_dos(self, mesh: KMesh, grid, *, width: float, progress: bool = False) -> np.ndarray:
        """States per eV and cell, both spins, at the energies ``grid`` (G,) eV; width: Gaussian sigma in eV, 0: tetrahedra."""
        _check_width(width)
        mesh = self.reduce(mesh)
        return self._broaden(mesh, self.energies(mesh.kpts, progress=progress), grid, width)

    def compute_projected_dos(
        self, mesh: KMesh, grid, *, by: str, method: Population = "mulliken", width: float, progress: bool = False
    ) -> tuple[np.ndarray, tuple[dict[str, str], ...]]:
        """compute_dos of each group of orbitals, (P, G), and the labels of the groups; by: see projections.group_orbitals."""
        _check_width(width)
        mesh = self.check_time_reversal(mesh)
        energies, shares, labels = self.project(mesh.kpts, by=by, method=method, progress=progress)
        return self._broaden(mesh, energies, grid, width, shares), labels

    def compute_bond_dos(
        self, mesh: KMesh, grid, bonds: list[BlockKey], *, width: float, progress: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """COOP, states per eV and cell, and COHP, states per cell, of bonds (i, j, R): (B, G) each; width as in compute_dos.

        Positive and negative where bonding, see projections.project_bonds; all bonds together hold the electrons and
        the band energy.
        """
        _check_width(width)
        mesh = self.check_time_reversal(mesh)
        energies, norms, parts = project_bonds(self.sums(len(mesh.kpts)), mesh.kpts, bonds, progress=progress)
        return self._broaden(mesh, energies, grid, width, norms), self._broaden(mesh, energies, grid, width, parts)

    def project(
        self, kpts, *, by: str, method: Population = "mulliken", progress: bool = False
    ) -> tuple[np.ndarray, np.ndarray, tuple[dict[str, str], ...]]:
        """Energies (K, n) eV, the share (K, n, P) of each group of orbitals in each state, and the labels of the groups."""
        groups = self._group(by)
        return *project_states(self.sums(len(kpts)), kpts, groups, method=method, progress=progress), groups.labels

    def compute_populations(
        self, mesh: KMesh, *, method: Population = "mulliken", width: float = 0.0, progress: bool = False
    ) -> Populations:
        """Electrons and charge of each atom; width: Fermi-Dirac smearing in eV, at least SHARING_WIDTH."""
        mesh, width = self.check_time_reversal(mesh), max(width, SHARING_WIDTH)
        sums = self.sums(len(mesh.full_kpts))
        groups = self._group("atom")
        electrons = compute_populations(sums, mesh, self.n_electrons, groups, method=method, width=width, progress=progress)
        return Populations(electrons, self._valence - electrons, self._symbols, method)

    def find_levels(self) -> Levels:
        """Levels of a molecule, by electron count. ValueError for a periodic structure; errors of solve_levels for open shells."""
        pbc = self.sample.structure.pbc
        if pbc.any():
            raise ValueError(f"levels are those of a molecule; found pbc {pbc.tolist()}: set atoms.pbc = False, or ask for bands")
        levels = solve_levels(self.sums(), self.n_electrons, spin_degeneracy=self.spin_degeneracy)
        self._warn_of_ghosts(levels.energies[None], [[0.0, 0.0, 0.0]])
        return levels

    def compute_dipole(self) -> np.ndarray:
        """Dipole moment (3,) of a molecule in e Angstrom, from minus to plus; of an ion about the origin. Errors of find_levels."""
        levels, structure = self.find_levels(), self.sample.structure
        integrals = compute_dipole_integrals(structure, self.sample.basis, self.sample.overlap)
        return compute_dipole(levels, integrals, structure.positions, self._valence)

    def occupations(self, energies, fermi_level: float, *, width: float = 0.0) -> np.ndarray:
        """Electrons per state, shape of energies; width: Fermi-Dirac smearing in eV."""
        return compute_occupations(energies, fermi_level, **self._smearing(width))

    @property
    def _valence(self) -> np.ndarray:
        """(N,) valence electrons of each neutral atom."""
        return np.array([self.sample.basis.count_electrons(z[None]) for z in self.sample.structure.numbers])

    @property
    def _symbols(self) -> tuple[str, ...]:
        return tuple(symbol_of(z) for z in self.sample.structure.numbers.tolist())

    def _group(self, by: str):
        return group_orbitals(self.sample.hamiltonian.layout, self._symbols, by, n_spin=self.sample.hamiltonian.n_spin)

    def _broaden(self, mesh: KMesh, energies: np.ndarray, grid, width: float, shares: np.ndarray | None = None) -> np.ndarray:
        if width > 0:
            return compute_dos(energies, mesh.weights, grid, width=width, spin_degeneracy=self.spin_degeneracy, projections=shares)
        cell = self.sample.structure.complete_cell
        projections = None if shares is None else mesh.unfold(shares)
        return compute_dos_tetrahedron(
            mesh.unfold(energies), cell, grid, spin_degeneracy=self.spin_degeneracy, projections=projections
        )

    def _smearing(self, width: float) -> dict:
        return {"spin_degeneracy": self.spin_degeneracy, "width": width, "method": "fermi-dirac" if width else "fixed"}

    def _count_gap(self, energies: np.ndarray, kpts: np.ndarray) -> BandGap:
        gap = find_band_gap(energies, kpts, self.n_electrons, spin_degeneracy=self.spin_degeneracy)
        return replace(gap, periodic=bool(self.sample.structure.pbc.any()))

    def _follow_edges(self, gap: BandGap, mesh: KMesh, energies: np.ndarray, refine: bool | None) -> BandGap:
        """The gap at the extrema next to those found on a mesh, energies (K, n) there first; refine as in find_band_gap."""
        if refine is None:
            refine = self.sample.hamiltonian.n_orbitals <= REFINE_UP_TO
        if mesh.size is None or not refine or gap.n_filled is None:
            return gap
        neighbours = find_neighbours(self.sample.structure.complete_cell, mesh.size, self.dispersive)
        starts = find_edge_valleys(mesh, energies[: len(mesh)], gap.n_filled, neighbours)
        return refine_band_gap(self.sums(SEARCHED), gap, neighbours / np.array(mesh.size), starts=starts)

    def _solve_with(self, kpts, edges, progress: bool) -> tuple[np.ndarray, np.ndarray]:
        """Energies at both lists in one call, so that all have the same number of bands.

        Edges that differ along axes without dispersion only are one: graphene's bands touch at K, not at H above it.
        """
        edges = np.unique(np.asarray(edges, dtype=float).reshape(-1, 3) * self.dispersive, axis=0)
        kpts = np.concatenate([np.asarray(kpts, dtype=float), edges])
        return self.energies(kpts, progress=progress), kpts


def _check_width(width: float):
    if not 0 <= width < math.inf:
        raise ValueError(f"width must be zero (tetrahedra) or a positive energy in eV, found {width!r}")
