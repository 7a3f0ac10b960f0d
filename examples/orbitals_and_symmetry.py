"""What states are made of, and whether the prediction has the symmetry of its crystal; writes two pictures here."""

import matplotlib.pyplot as plt
import numpy as np
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.plot import plot_fat_bands, plot_projected_dos

atoms = graphene(a=2.46, vacuum=5.0)
atoms.calc = TraceGradCalculator("graphene-pbe", kpts=(24, 24, 1))

# Residuals of H and S under every operation, and which levels the little group of each k keeps together.
report = atoms.calc.symmetry_report()
print(report)

# The density of states of each orbital (Mulliken), as ASE's collection: it selects and sums by element, l, m.
parts = atoms.calc.projected_dos(by="orbital", width=0.2)
pi = parts.select(element="C", l="p", m="0").sum_all()
energies, weights = pi.get_energies(), pi.get_weights()
pi_electrons = np.trapezoid(weights[energies < 0], energies[energies < 0])
print(f"electrons in p_z orbitals: {pi_electrons:.3f}")
plot_projected_dos(parts, window=(-20, 8))
plt.savefig("projected_dos.png")

# The same along a path (Loewdin): the bands that touch at K are p_z, polarised by d.
bands, shares = atoms.calc.fat_bands("GMKG", 150, by="orbital")
at_k = [abs(k - [1 / 3, 1 / 3, 0]).max() < 1e-9 for k in bands.path.kpts].index(True)
pz_share = shares["C p_z"][at_k, 3:5]
print("share of p_z in the two bands that touch at K:", pz_share.round(3))
plot_fat_bands(bands, shares, gap=atoms.calc.band_gap(), window=(-20, 8))
plt.savefig("fat_bands.png")
