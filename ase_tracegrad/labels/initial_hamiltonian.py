"""The Fock matrix of PySCF's initial density: what the 'delta' models of molecules add their prediction to."""

from ..basis import Basis
from ..blocks import BlockMatrix
from ..io.qh9 import molecule_matrix
from ..structure import Structure
from ..symbols import symbol_of
from ..units import HARTREE
from .errors import LabelError

GRID_LEVEL = 1  # of the exchange-correlation part: 1e-6 Hartree from level 3 in the mean, at a third of the cost


def initial_hamiltonian(structure: Structure, basis: Basis) -> BlockMatrix:
    """H (eV) of the 'minao' density, a superposition of neutral atoms in a minimal basis: one Fock build, no SCF.

    basis: of the model; its functional (basis.xc) and its name say what PySCF computes. The density is that of neutral atoms for
    ions too. Raises LabelError for a crystal, PyscfNotFoundError.
    """
    from threadpoolctl import threadpool_limits

    if structure.pbc.any():
        raise LabelError(f"this model is one of molecules; the structure is periodic along {structure.pbc.tolist()}")
    from .pyscf import make_molecule

    symbols = [symbol_of(z) for z in structure.numbers.tolist()]
    electrons = int(structure.numbers.sum())
    molecule = make_molecule(symbols, structure.positions, basis.name, charge=electrons % 2)
    from pyscf import dft, lib

    calculation = dft.RKS(molecule, xc=basis.xc)
    calculation.grids.level = GRID_LEVEL
    with threadpool_limits(1), lib.with_omp_threads(1):
        fock = calculation.get_fock(dm=calculation.get_init_guess(key="minao"))
    return molecule_matrix(basis.layout(structure.numbers), HARTREE * fock)
