"""Labels for molecules: run PySCF on an Atoms and return its Fock matrix, S, orbital energies and total energy.

The defaults are QH9's: restricted B3LYP with VWN5, def2-SVP, grid level 3, conv_tol 1e-9, and the Fock matrix of the converged
density (H. Yu et al., arXiv 2306.09549; divelab/AIRS, OpenDFT/QHBench/QH9).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from .. import closed_shell
from ..basis import Basis, Shell
from ..closed_shell import describe_open_shell
from ..io.def2_svp import FUNCTIONAL, atom_of_shells, contract_gaussians
from ..io.qh9 import molecule_matrix
from ..io.sample import Sample
from ..structure import Structure
from ..symbols import symbol_of
from ..units import HARTREE
from .errors import LabelError, ScfNotConvergedError

HEAVIEST = 36  # from here on def2 bases leave the core to pseudopotentials, which PySCF does not add by itself


class PyscfNotFoundError(LabelError):
    """PySCF is not installed."""


class OpenShellError(LabelError, closed_shell.OpenShellError):
    """A molecule with unpaired electrons; only closed shells have labels."""


@dataclass(frozen=True)
class PyscfSettings:
    """What decides the label. conv_tol: Hartree, of the total energy; grid_level: 0 to 9; basis: a name that PySCF knows.

    start_grid_level: converge on this coarser grid first, to 1e-6 Hartree: the label is the same within conv_tol, a quarter cheaper
    """

    xc: str = FUNCTIONAL
    basis: str = "def2-SVP"
    conv_tol: float = 1e-9
    grid_level: int = 3
    max_cycle: int = 50
    initial_guess: str = "minao"
    start_grid_level: int | None = None


QH9_SETTINGS = PyscfSettings()


def compute_molecule_labels(atoms, charge: int = 0, settings: PyscfSettings = QH9_SETTINGS, *, threads: int = 1) -> Sample:
    """Run PySCF on a closed-shell molecule and return the Sample: H on all pairs of atoms, one cell R = 0.

    atoms: ase.Atoms without periodic directions; charge in units of e; threads of PySCF. info: n_electrons, charge, total_energy,
    homo, lumo, orbital_energies (of the Fock matrix returned) in eV, fermi_level (middle of the gap), scf_steps, settings.
    Raises LabelError (PyscfNotFoundError, OpenShellError, ScfNotConvergedError).
    """
    molecule = build_molecule(atoms, charge, settings.basis)
    import pyscf
    from pyscf import lib

    calculation = prepare_scf(molecule, settings)
    try:
        with threadpool_limits(threads), lib.with_omp_threads(threads):
            calculation.kernel(dm0=coarse_density(calculation, settings))
            fock = calculation.get_fock()
            overlap = calculation.get_ovlp()
            energies, _ = calculation.eig(fock, overlap)
    except np.linalg.LinAlgError as error:
        raise LabelError(f"PySCF cannot diagonalise {atoms.get_chemical_formula()}: {error}; are two atoms too close?") from error
    if not calculation.converged:
        raise ScfNotConvergedError(
            f"SCF of {atoms.get_chemical_formula()} did not converge in {settings.max_cycle} steps; raise max_cycle, or look "
            "whether its bonds are stretched so far that its shells open"
        )
    structure = Structure(atoms.numbers, atoms.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    basis = read_basis(molecule, settings)
    layout = basis.layout(structure.numbers)
    occupied = molecule.nelectron // 2
    info = {
        "code": "PySCF",
        "version": pyscf.__version__,
        "charge": charge,
        "n_electrons": float(molecule.nelectron),
        "total_energy": float(calculation.e_tot) * HARTREE,
        "orbital_energies": (energies * HARTREE).tolist(),
        "homo": float(energies[occupied - 1]) * HARTREE,
        "lumo": float(energies[occupied]) * HARTREE,
        "fermi_level": float(energies[occupied - 1] + energies[occupied]) / 2 * HARTREE,
        "scf_steps": int(calculation.cycles),
        "settings": asdict(settings),
    }
    return Sample(structure, basis, molecule_matrix(layout, HARTREE * fock), molecule_matrix(layout, overlap), info)


def prepare_scf(molecule, settings: PyscfSettings):
    """The restricted Kohn-Sham calculation of a pyscf.gto.Mole, not yet run."""
    from pyscf import dft

    calculation = dft.RKS(molecule, xc=settings.xc)
    calculation.conv_tol = settings.conv_tol
    calculation.max_cycle = settings.max_cycle
    calculation.init_guess = settings.initial_guess
    calculation.grids.level = settings.grid_level
    calculation.chkfile = None
    return calculation


def coarse_density(calculation, settings: PyscfSettings):
    """The density matrix converged on the coarser grid, None without one; the integrals are handed on to the calculation."""
    if settings.start_grid_level is None:
        return None
    coarse = prepare_scf(calculation.mol, settings)
    coarse.grids.level, coarse.conv_tol = settings.start_grid_level, 1e-6
    coarse.kernel()
    calculation._eri = coarse._eri
    return coarse.make_rdm1()


def build_molecule(atoms, charge: int, basis: str):
    """The pyscf.gto.Mole of a closed-shell molecule. Raises LabelError (PyscfNotFoundError, OpenShellError)."""
    check_closed_shell(atoms, charge)
    return make_molecule(atoms.get_chemical_symbols(), atoms.positions, basis, charge)


def make_molecule(symbols: Sequence[str], positions: np.ndarray, basis: str, charge: int = 0):
    """The pyscf.gto.Mole of paired electrons; positions (N, 3) in Angstrom. Raises LabelError (PyscfNotFoundError)."""
    try:
        from pyscf import gto
        from pyscf.lib.exceptions import BasisNotFoundError
    except ImportError as error:
        raise PyscfNotFoundError("calculations of molecules need PySCF: pip install 'ase_tracegrad[molecules]'") from error
    molecule = gto.Mole()
    molecule.atom = list(zip(symbols, positions.tolist(), strict=True))
    molecule.basis, molecule.charge, molecule.spin, molecule.unit = basis, charge, 0, "Angstrom"
    molecule.verbose = 0
    try:
        molecule.build(dump_input=False, parse_arg=False)
    except BasisNotFoundError as error:
        raise LabelError(f"PySCF has no basis {basis} for {' '.join(sorted(set(symbols)))}: {error}") from error
    return molecule


def check_closed_shell(atoms, charge: int):
    """LabelError for a crystal, heavy elements or no electrons, OpenShellError for unpaired electrons (describe_open_shell)."""
    formula = atoms.get_chemical_formula()
    if atoms.pbc.any():
        raise LabelError(f"{formula} is periodic along {atoms.pbc.tolist()}; expected a molecule: set atoms.pbc = False")
    if atoms.numbers.max() > HEAVIEST:
        raise LabelError(f"{formula} has elements beyond {symbol_of(HEAVIEST)}, whose bases need pseudopotentials; not supported")
    electrons = int(atoms.numbers.sum()) - charge
    if electrons < 1:
        raise LabelError(f"{formula} with charge {charge} has {electrons} electrons")
    reason = describe_open_shell(atoms, charge)
    if reason is not None:
        raise OpenShellError(reason)


def read_basis(molecule, settings: PyscfSettings) -> Basis:
    """The Gaussian orbitals of a pyscf.gto.Mole, in PySCF's order of shells."""
    from ase.data import atomic_numbers

    atoms = {}
    for symbol, entries in molecule._basis.items():
        shells = []
        for l, *rows in entries:
            table = np.array([row for row in rows if not isinstance(row, int)])  # an integer is kappa, of spinors
            shells += [contract_gaussians(l, table[:, 0], column) for column in table[:, 1:].T]
        shells.sort(key=lambda shell: shell.l)
        number = atomic_numbers[symbol]
        atoms[number] = atom_of_shells(number, shells)
    return Basis(atoms, name=settings.basis, code="PySCF", xc=settings.xc)


def read_shells(molecule) -> list[list[Shell]]:
    """The shells of each atom of a built pyscf.gto.Mole, in the order of its orbitals, whatever was done to them on the way."""
    shells: list[list[Shell]] = [[] for _ in range(molecule.natm)]
    for number in range(molecule.nbas):
        l, exponents = molecule.bas_angular(number), molecule.bas_exp(number)
        contractions = molecule.bas_ctr_coeff(number).T
        shells[molecule.bas_atom(number)] += [contract_gaussians(l, exponents, contraction) for contraction in contractions]
    return shells
