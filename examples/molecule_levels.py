"""Levels, atomic charges, dipole moment and density of states of a water molecule.

    python examples/molecule_levels.py MODEL      a model of molecules: a name or a .safetensors file

Without an argument: H and S of a PySCF run (pip install "ase_tracegrad[molecules]"). Writes molecule_levels.png into the
current folder.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from ase.build import molecule
from ase.units import Debye

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.kmesh import make_list
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.plot import plot_levels

atoms = molecule("H2O")
gamma = make_list([[0.0, 0.0, 0.0]])
if len(sys.argv) > 1:
    atoms.calc = TraceGradCalculator(sys.argv[1])
    structure = atoms.calc.electronic_structure()
    print(f"HOMO, LUMO: {atoms.calc.get_homo_lumo()} eV; Mulliken charges {atoms.get_charges()}")  # in ASE's way
else:
    from ase_tracegrad.labels.pyscf import compute_molecule_labels

    structure = ElectronicStructure(compute_molecule_labels(atoms))

levels = structure.find_levels()
print(levels)
for method in ("mulliken", "loewdin"):
    print(structure.compute_populations(gamma, method=method))
dipole = structure.compute_dipole()
print(f"dipole {np.linalg.norm(dipole) / Debye:.3f} D: {dipole} e Angstrom")

figure, (left, right) = plt.subplots(1, 2, figsize=(6.0, 4.6), layout="constrained")
plot_levels(levels, title="H2O", ax=left)
energies = np.linspace(*left.get_ylim(), 600)
right.plot(structure.compute_dos(gamma, energies, width=0.3), energies)
right.set(ylim=left.get_ylim(), xlabel="states per eV (width 0.3 eV)")
plt.savefig("molecule_levels.png")
