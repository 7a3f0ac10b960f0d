"""A PySCF calculation that starts almost converged: its cycles from the predicted density and from PySCF's own guesses.

python examples/scf_start.py [molecule.xyz] [--model MODEL]
"""

import argparse

from ase.build import molecule
from ase.io import read
from pyscf import dft, gto

from ase_tracegrad.scf import initial_density

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("structure", nargs="?", help="a molecule in a file that ASE reads; ethanol without one")
parser.add_argument("--model", default="molecules-b3lyp-delta", help="embedded model or model file")
options = parser.parse_args()
atoms = read(options.structure) if options.structure else molecule("CH3CH2OH")
mol = gto.M(atom=list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)), basis="def2-svp", verbose=0)

# The three lines.
mf = dft.RKS(mol, xc="b3lyp5")
mf.kernel(dm0=initial_density(mf, options.model))
print(f"{'prediction':<12} {mf.cycles:>3} cycles   {mf.e_tot:.8f} Hartree{'' if mf.converged else '   not converged'}")

for guess in ("minao", "atom", "huckel", "1e"):
    other = dft.RKS(mol, xc="b3lyp5")
    other.init_guess = guess
    other.kernel()
    print(f"{guess:<12} {other.cycles:>3} cycles   {other.e_tot:.8f} Hartree")
