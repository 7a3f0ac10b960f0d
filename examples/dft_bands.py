"""Bands from the H(R) and S(R) of a DFT code, without any network.

    python examples/dft_bands.py FOLDER      a DeepH folder (legacy or new), or a packed file

Without an argument: CP2K labels of graphene that come with the tests. Writes dft_bands.png into the current folder.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.spectrum.band_structure import BandStructure

from ase_tracegrad import compute_bands, compute_overlap, read
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.kpoints import make_band_path
from ase_tracegrad.plot import plot_bands

if len(sys.argv) > 1:
    sample = read(sys.argv[1])
else:
    with StoreReader(Path(__file__).parents[1] / "tests" / "data" / "graphene_cp2k.h5") as store:
        sample = store["perfect"]

print(f"{sample.atoms}: {sample.hamiltonian.layout.total} orbitals, {len(sample.hamiltonian)} blocks")
path = make_band_path(sample.atoms, npoints=120, dispersive=ElectronicStructure(sample).dispersive)
energies = compute_bands(sample.hamiltonian, sample.overlap, path.kpts)
fermi_level = sample.info.get("fermi_level") or 0.0
print(f"Fermi level {fermi_level:.4f} eV, {energies.shape[1]} bands at {len(energies)} k-points")

if sample.bands is not None:  # the DFT code's own bands were stored as well
    ours = compute_bands(sample.hamiltonian, sample.overlap, sample.bands.kpts)
    n = min(ours.shape[1], sample.bands.energies.shape[1])
    low = sample.bands.energies[:, :n] < fermi_level + 3
    difference = np.abs(ours[:, :n] - sample.bands.energies[:, :n])[low].max()
    print(f"largest difference from the code's own bands below E_F + 3 eV: {1000 * difference:.4f} meV")
if all(atom.shells for atom in sample.basis.atoms.values()):  # radial functions known: S needs no DFT code either
    same = compute_overlap(sample.structure, sample.basis).restricted_to(sample.overlap)
    print(f"largest difference from our own overlap: {np.abs(same.values - sample.overlap.values).max():.1e}")

plot_bands(BandStructure(path, energies[None], reference=fermi_level))
plt.savefig("dft_bands.png")
