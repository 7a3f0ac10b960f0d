"""The gap of monolayer MoS2 against temperature, with phonons by CP2K (training/mos2_force_constants.py made the file)."""

from pathlib import Path

import numpy as np

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.plot import plot_gap_against_temperature
from ase_tracegrad.thermal import gap_vs_temperature

phonons = Path(__file__).with_name("mos2_phonopy.yaml")
calc = TraceGradCalculator("mos2-pbe", kpts=(6, 6, 1))

# Few pairs in a small cell, so that it takes seconds; see docs/temperature.md for what to converge.
result = gap_vs_temperature(calc, phonons, [0, 150, 300, 450], (2, 2, 1), n_pairs=2, out="mos2-gap")
print(result)

grid = np.linspace(0, 450, 100)
curves = [{"fit": (grid, fit(grid)), "fit_name": fit.name} for fit in result.fits()]  # those that the gaps determine
axes = plot_gap_against_temperature(
    result.temperatures, result.mean(), result.error(), static=result.select("gap")[1], **(curves[-1] if curves else {})
)
axes.figure.savefig("gap_temperature.png")
result.write("gap_temperature.json")
