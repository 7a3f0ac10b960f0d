"""Relax a molecule with energy and forces of the predicted density: the functional is evaluated once per step, without SCF.

python examples/relax_with_density.py [molecule.xyz] [--model MODEL]; writes relaxed.xyz into the current folder.
"""

import argparse

from ase.build import molecule
from ase.io import read
from ase.optimize import BFGS

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.labels.pyscf import compute_molecule_labels

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("structure", nargs="?", help="a molecule in a file that ASE reads; displaced methanol without one")
parser.add_argument("--model", default="molecules-b3lyp-delta", help="embedded model or model file")
parser.add_argument("--steps", type=int, default=50)
options = parser.parse_args()
atoms = read(options.structure) if options.structure else molecule("CH3OH")
if not options.structure:
    atoms.rattle(0.05, seed=0)

atoms.calc = TraceGradCalculator(options.model, energy="density")
converged = BFGS(atoms).run(fmax=0.05, steps=options.steps)
energy = atoms.get_potential_energy()
print(atoms.calc.potential.info)
atoms.write("relaxed.xyz")

# What a self-consistent calculation says about the structure that was found.
reference = compute_molecule_labels(atoms).info["total_energy"]
print(f"relaxed: {converged}; {1000 * (energy - reference) / len(atoms):.2f} meV per atom above the self-consistent energy")
