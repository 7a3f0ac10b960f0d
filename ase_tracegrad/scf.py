"""A self-consistency loop that starts almost converged: the density of a predicted Hamiltonian in PySCF's own order.

    mf = dft.RKS(mol, xc="b3lyp5")
    mf.kernel(dm0=initial_density(mf, "molecules-b3lyp-delta"))

Molecules (RKS, RHF) and crystals (KRKS, KRHF) of closed shells, in the basis that the model was trained on.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import eigh

from .basis import Basis
from .batching import OutOfDomainWarning, predict_one
from .blocks import BlockMatrix
from .io.def2_svp import PYSCF_BOHR
from .io.qh9 import pyscf_gather, pyscf_matrix
from .io.sample import Sample
from .labels.pyscf import OpenShellError, read_shells
from .structure import Structure
from .symbols import is_symbol, number_of, symbol_of
from .units import HARTREE
from .warn import warn_caller

SAME_RADIAL = 1e-4  # of the largest value; tables of one basis from two programs differ by their printed digits
RADII = np.linspace(0.05, 5.0, 100)  # Angstrom


class BasisMismatchError(ValueError):
    """The orbitals of a PySCF calculation are not those of the Hamiltonian."""


class FunctionalWarning(UserWarning):
    """The PySCF calculation uses another functional than the labels of the model."""


@dataclass(frozen=True, eq=False)
class PyscfObject:
    """What is read from a pyscf.gto.Mole, a pyscf.pbc.gto.Cell or a mean-field object.

    source: the object as the user gave it. The matrices of a molecule are (n, n), those of a crystal (K, n, n).
    Raises OpenShellError, ValueError, TypeError for what has no closed-shell density.
    """

    source: Any

    def __post_init__(self):
        if not hasattr(self.molecule, "nelectron"):
            raise TypeError(f"expected a PySCF molecule or mean-field object (RKS, KRKS), found {type(self.source).__name__}")
        check_restricted(self.source)
        check_closed_shell(self.molecule)
        if self.periodic and not self.is_mean_field:
            raise TypeError("the density of a crystal depends on the k-points: pass the KRKS or KRHF object, not the cell")

    @property
    def is_mean_field(self) -> bool:
        """Whether the source is a mean-field object, which knows its functional."""
        return hasattr(self.source, "get_fock")

    @property
    def molecule(self):
        """The pyscf.gto.Mole or pyscf.pbc.gto.Cell."""
        return getattr(self.source, "mol", self.source) if self.is_mean_field else self.source

    @property
    def periodic(self) -> bool:
        """Whether it is a crystal."""
        return hasattr(self.molecule, "lattice_vectors")

    @cached_property
    def structure(self) -> Structure:
        """Atoms in the order of PySCF; Angstrom."""
        molecule = self.molecule
        for i, symbol in enumerate(molecule.elements):
            if not is_symbol(symbol):
                raise ValueError(f"atom {i} is {symbol!r}: a model knows atoms only, no ghost atoms and point charges")
        numbers = np.array([number_of(symbol) for symbol in molecule.elements])
        cell, pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
        if self.periodic:
            cell, pbc = molecule.lattice_vectors() * PYSCF_BOHR, np.arange(3) < molecule.dimension
        return Structure(numbers, molecule.atom_coords() * PYSCF_BOHR, cell, pbc)

    def check_basis(self, basis: Basis):
        """BasisMismatchError unless all atoms have the shells of ``basis``, in its order, and its number of valence electrons."""
        for i, (number, shells) in enumerate(zip(self.structure.numbers, read_shells(self.molecule), strict=True)):
            expected, name = basis[number], f"atom {i} ({symbol_of(number)})"
            found = tuple(shell.l for shell in shells)
            if found != expected.angular_momenta:
                raise BasisMismatchError(
                    f"{name} has shells of l = {list(found)} in PySCF, {list(expected.angular_momenta)} in the Hamiltonian: "
                    f"use the basis {basis.name!r} of {basis.code}, which it was made with"
                )
            for shell, known in zip(shells, expected.shells, strict=True):
                ours, theirs = known.radial(RADII), shell.radial(RADII)
                if np.abs(ours - theirs).max() > SAME_RADIAL * np.abs(ours).max():
                    raise BasisMismatchError(
                        f"{name}: its shells have the same l as those of the Hamiltonian, but other radial functions; "
                        f"use the basis {basis.name!r} of {basis.code}, which it was made with"
                    )
            charge = self.molecule.atom_charge(i)
            if expected.valence is not None and charge != expected.valence:
                raise BasisMismatchError(
                    f"{name} has the nuclear charge {charge} in the PySCF calculation, the Hamiltonian counts {expected.valence:g} "
                    "electrons: effective core potentials (ecp, pseudo) must be those of the labels"
                )

    def density(self, hamiltonian: BlockMatrix) -> np.ndarray:
        """The density matrix of H(R), which is in eV, with PySCF's own overlap; see ``hamiltonian_density``."""
        if self.periodic:
            return self._crystal_density(hamiltonian)
        _, orbitals = eigh(pyscf_matrix(hamiltonian), self.molecule.intor_symmetric("int1e_ovlp"))
        occupied = orbitals[:, : self.molecule.nelectron // 2]
        return 2 * occupied @ occupied.T

    def _crystal_density(self, hamiltonian: BlockMatrix) -> np.ndarray:
        gather = pyscf_gather(hamiltonian.layout)
        back = np.argsort(gather)
        kpts = self.molecule.get_scaled_kpts(self.source.kpts)
        solved = [eigh(h[np.ix_(back, back)], s) for h, s in zip(hamiltonian.bloch(kpts), self.source.get_ovlp(), strict=True)]
        energies, orbitals = np.array([e for e, _ in solved]) / HARTREE, np.array([c for _, c in solved])
        # PySCF's own count, so that its smearing and its choice among the k-points are obeyed.
        occupations = self.source.get_occ(energies, orbitals)
        return np.array([(c * f) @ c.conj().T for c, f in zip(orbitals, occupations, strict=True)])


def initial_density(calculation, model, *, device=None) -> np.ndarray:
    """The density matrix of a model's Hamiltonian, for ``mf.kernel(dm0=...)``.

    calculation: a pyscf.gto.Mole, or a restricted mean-field object of a molecule or a crystal (KRKS, KRHF); model: name of an
    embedded model, path or Predictor; device: for loading it. Returns (n, n), of a crystal (K, n, n), in PySCF's order. The
    number of electrons is that of the calculation. A model with a reference (NetworkConfig) takes one Fock matrix.
    Raises OpenShellError, BasisMismatchError, UnsupportedStructureError, TypeError, ValueError. FunctionalWarning where the
    functional is not the model's; OutOfDomainWarning for a charge, of which a model knows nothing.
    """
    return initial_sample(calculation, model, device=device)[1]


def initial_sample(calculation, model, *, device=None) -> tuple[Sample, np.ndarray]:
    """What the model predicts for a PySCF calculation, and its density matrix; see ``initial_density``."""
    read = PyscfObject(calculation)
    predictor = find_predictor(model, device)
    if set(read.structure.numbers.tolist()) - set(predictor.card.elements):
        predictor.check(read.structure)  # names the elements and other models
    read.check_basis(predictor.basis)
    if read.is_mean_field:
        warn_of_functional(read.source, predictor.basis.xc)
    if read.molecule.charge:
        warn_caller(
            f"the molecule has the charge {read.molecule.charge:+d}, of which the model knows nothing: its Hamiltonian of the "
            "neutral molecule is filled with the electrons of the ion",
            OutOfDomainWarning,
        )
    sample = predict_one(predictor, read.structure)
    return sample, read.density(sample.hamiltonian)


def hamiltonian_density(calculation, sample: Sample) -> np.ndarray:
    """The density matrix of any Hamiltonian, such as a label, for a PySCF calculation of the same structure.

    The lowest orbitals of H C = S C e are filled, D = 2 C C^T; in a crystal as mf.get_occ says. Shapes and errors as of
    ``initial_density``; ValueError if the atoms are others.
    """
    read = PyscfObject(calculation)
    known, found = sample.structure, read.structure
    if not np.array_equal(known.numbers, found.numbers) or np.abs(known.positions - found.positions).max() > 1e-4:
        raise ValueError(
            "the Hamiltonian belongs to other atoms, or to other positions or another order, than the PySCF calculation"
        )
    read.check_basis(sample.basis)
    return read.density(sample.hamiltonian)


def find_predictor(model, device=None):
    """The Predictor of a name, a path or a Predictor."""
    if hasattr(model, "predict"):
        return model
    from .nn.predictor import load_model

    return load_model(model, device=device)


def check_restricted(calculation):
    """TypeError for mean-field objects of unrestricted, open-shell or two-component theory, ValueError for reduced k-points."""
    kinds = {kind.__name__ for kind in type(calculation).__mro__}  # names: importing PySCF's classes takes a second
    if kinds & {"UHF", "ROHF", "GHF", "DHF", "KUHF", "KROHF", "KGHF"}:
        raise TypeError(
            f"expected a restricted closed-shell calculation (RKS, RHF, KRKS, KRHF), found {type(calculation).__name__}"
        )
    if hasattr(getattr(calculation, "mol", None), "lattice_vectors"):
        if "KSCF" not in kinds:
            raise TypeError(f"expected KRKS or KRHF for a crystal, with its kpts, found {type(calculation).__name__}")
        if not isinstance(calculation.kpts, np.ndarray):
            raise ValueError("k-points reduced by symmetry are not supported: make them without space_group_symmetry")


def check_closed_shell(molecule):
    """OpenShellError for unpaired electrons, ValueError for none at all and for Cartesian d functions."""
    if molecule.nelectron < 1:
        raise ValueError("the molecule has no electrons; check its charge")
    if molecule.spin or molecule.nelectron % 2:
        raise OpenShellError(
            f"the molecule has {molecule.nelectron} electrons and spin {molecule.spin}: radicals and other open shells have no "
            "restricted closed-shell Hamiltonian and are not supported"
        )
    if molecule.cart:
        raise ValueError("the molecule has Cartesian d functions (cart=True); models predict spherical ones: set mol.cart = False")


def warn_of_functional(calculation, expected: str):
    """FunctionalWarning unless the functional of a mean-field object is the one of the labels, whatever the two are called."""
    from pyscf.dft import libxc

    found = getattr(calculation, "xc", "HF")
    try:
        same = libxc.parse_xc(found) == libxc.parse_xc(expected)
    except KeyError:  # a name that PySCF does not know
        same = False
    if not same:
        warn_caller(
            f"the calculation uses the functional {found!r}, the model was trained on {expected!r}: its density is a start all the "
            "same, but a worse one",
            FunctionalWarning,
        )
