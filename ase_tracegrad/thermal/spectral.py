"""Spectral function A(k, E) of supercells in the Brillouin zone of the primitive cell; averaged over snapshots A(k, E, T)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.dft.kpoints import BandPath
from tqdm.auto import tqdm

from ..electronic.unfold import compute_spectral_function, map_supercell, unfold_bands
from ..kpoints import make_band_path
from ..replace_file import replace_file
from ..structure import Structure


@dataclass(frozen=True, eq=False)
class SpectralFunction:
    """values (K, G) 1/eV along ``path`` of the primitive cell, at energies (G,) eV; zero: energy in eV to count from, and
    zero_name: what it is; bands (K, n) eV: of the undisplaced primitive crystal; n_snapshots: that were averaged."""

    path: BandPath
    energies: np.ndarray
    values: np.ndarray
    zero: float
    zero_name: str
    bands: np.ndarray
    n_snapshots: int

    def write(self, path):
        """All numbers as .npz: docs/temperature.md lists the keys."""
        x, ticks, labels = self.path.get_linear_kpoint_axis()
        arrays = {"kpts": self.path.kpts, "x": x, "ticks": ticks, "labels": np.array(list(labels)), "energies": self.energies}
        arrays |= {"values": self.values, "zero": np.array(self.zero), "zero_name": np.array(self.zero_name)}
        with replace_file(path) as part, part.open("wb") as stream:
            np.savez_compressed(stream, **arrays, bands=self.bands, n_snapshots=np.array(self.n_snapshots))


def compute_spectral_functions(
    calc,
    primitive: Atoms,
    supercells: Iterable[Atoms],
    path=None,
    npoints: int | None = None,
    *,
    window=(-4.0, 4.0),
    width: float = 0.05,
) -> SpectralFunction:
    """A(k, E), averaged over supercells of one primitive crystal, e.g. over its thermal snapshots.

    calc: TraceGradCalculator; path: as TraceGradCalculator.band_structure takes it; window: lowest and highest energy, eV from
    the top of the primitive crystal's valence band (from its Fermi level, if it has no gap); width: Gaussian sigma, eV.
    """
    structure = calc.electronic_structure(primitive)
    band_path = make_band_path(primitive, path, npoints, dispersive=structure.dispersive)
    gap = calc.band_gap(atoms=primitive, progress=False)
    if gap.is_metal:
        attached, sibling = primitive.copy(), calc.fixed_density()
        attached.calc = sibling
        zero, name = sibling.get_fermi_level(), "E_F"
    else:
        zero, name = gap.vbm, "E_{VBM}"
    grid = zero + np.linspace(window[0], window[1], round((window[1] - window[0]) / (width / 4)) + 1)
    bands, total, count = structure.energies(band_path.kpts), np.zeros((len(band_path.kpts), len(grid))), 0
    for atoms in tqdm(supercells, desc="snapshots", delay=2, disable=None):
        found = calc.electronic_structure(atoms)
        mapping = map_supercell(Structure.from_atoms(atoms), structure.sample.structure)
        energies, weights = unfold_bands(found.sums(), mapping, band_path.kpts)
        total += compute_spectral_function(energies, weights, grid, width=width)
        count += 1
    if count == 0:
        raise ValueError("no supercell to unfold: expected at least one")
    return SpectralFunction(band_path, grid, total / count, zero, name, bands, count)
