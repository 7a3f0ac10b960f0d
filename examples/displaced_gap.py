"""Thermal disorder opens a gap: displaced 3x3 cells of graphene, where K and K' fold onto Gamma."""

import numpy as np
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator

sheet = graphene(a=2.46, size=(3, 3, 1), vacuum=5.0)
calc = TraceGradCalculator("graphene-pbe", kpts=(4, 4, 1), fermi_kpts=(4, 4, 1))

print("displacement (Angstrom)   smallest direct gap of five cells (meV)")
for largest in (0.0, 0.02, 0.05, 0.1):
    gaps = []
    for seed in range(5 if largest else 1):
        atoms = sheet.copy()
        atoms.positions += np.random.default_rng(seed).uniform(-largest, largest, atoms.positions.shape)
        gap = calc.band_gap(atoms=atoms, kpts={"size": (4, 4, 1), "gamma": True})
        gaps.append(1000 * gap.direct_gap)
    print(f"{largest:>12.2f}              {np.round(gaps, 1)}")
