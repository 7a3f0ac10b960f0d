"""Bands and density of states of graphene; writes first_bands.png and .json into the current folder."""

import matplotlib.pyplot as plt
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.plot import plot_bands_and_dos

atoms = graphene(a=2.46, vacuum=5.0)
atoms.calc = TraceGradCalculator("graphene-pbe", kpts=(48, 48, 1))
print(atoms.calc)  # the model card: what it was trained on, and how wrong it is

bands = atoms.calc.band_structure("GMKG", npoints=150)
dos = atoms.calc.dos(width=0.1)
gap = atoms.calc.band_gap()
print(f"Fermi level {atoms.calc.get_fermi_level():.4f} eV; {gap}")

plot_bands_and_dos(bands, dos, gap=gap, window=(-20, 8))
plt.savefig("first_bands.png")
bands.write("first_bands.json")  # for ASE's own command: ase band-structure first_bands.json
