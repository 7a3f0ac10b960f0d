"""MolecularProperties: what the calculator answers about molecules: charge, levels, HOMO and LUMO, atomic charges, dipole."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError, PropertyNotImplementedError

from .batching import OutOfDomainWarning
from .closed_shell import OpenShellError, describe_open_shell
from .electronic.molecule import Levels
from .electronic_structure import ElectronicStructure, Populations
from .warn import warn_caller

# ASE's properties that follow from the density matrix.
FROM_DENSITY = ("charges", "dipole")


class MolecularProperties:
    """The part of TraceGradCalculator for molecules with closed shells; ``atoms`` defaults to the attached ones everywhere.

    The charge is the parameter ``charge``, else atoms.info['charge'], which extended XYZ files keep, else 0. It changes the
    number of electrons and nothing else: the network sees atoms, not charges.
    """

    parameters: Any
    electronic_structure: Callable[..., ElectronicStructure]
    populations: Callable[..., Populations]
    _current_atoms: Callable[..., Any]

    def levels(self, *, atoms=None) -> Levels:
        """Orbital energies, occupations, coefficients, HOMO, LUMO, gap and density matrix of a molecule; prints as a table.

        Raises OpenShellError for unpaired electrons, ValueError for a periodic structure.
        """
        atoms = self._current_atoms(atoms)
        self._check_closed_shell(atoms)
        return self.electronic_structure(atoms).find_levels()

    def get_homo_lumo(self) -> np.ndarray:
        """(HOMO, LUMO) of a molecule in eV (GPAW's name for it); of a crystal band_gap() gives the edges."""
        levels = self.levels()
        return np.array([levels.homo, levels.lumo])

    def check_state(self, atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, atoms.info['charge'] included, which ASE does not compare."""
        changes = super().check_state(atoms, tol)  # type: ignore[misc]
        known = self.atoms  # type: ignore[attr-defined]
        if known is not None and self.find_charge(known) != self.find_charge(atoms):
            return [*changes, "charge"]
        return changes

    def find_charge(self, atoms=None) -> float:
        """Charge of the structure in units of e: the parameter, else atoms.info['charge'], else 0. InputError for what is none."""
        if self.parameters["charge"] is not None:
            return float(self.parameters["charge"])
        charge = self._current_atoms(atoms).info.get("charge", 0)
        check_charge(charge, "atoms.info['charge']")
        return float(charge)

    def _with_charge(self, structure: ElectronicStructure, atoms) -> ElectronicStructure:
        """The same H and S with as many electrons as the charge leaves; a warning where that is not zero."""
        sample, charge = structure.sample, self.find_charge(atoms)
        before = sample.info.get("charge", 0.0)
        if charge == before:
            return structure
        if charge:
            warn_caller(
                f"charge {charge:g}: the network sees no charge, so H is that of the atoms it was trained on (neutral ones, unless "
                "its data were ions) and only the number of electrons follows the charge",
                OutOfDomainWarning,
            )
        n_electrons = structure.n_electrons + before - charge
        return ElectronicStructure(replace(sample, info=sample.info | {"charge": charge, "n_electrons": n_electrons}))

    def _calculate_from_density(self, name: str, atoms) -> np.ndarray:
        """One of FROM_DENSITY: Mulliken charges (N,) in e, or the dipole moment (3,) in e Angstrom."""
        if not atoms.pbc.any():
            self._check_closed_shell(atoms)
        elif name == "dipole":
            raise PropertyNotImplementedError(
                f"dipole: positions are not defined in a structure that is periodic (pbc {atoms.pbc.tolist()}); for a molecule "
                "in a box set atoms.pbc = False"
            )
        if name == "dipole":
            return self.electronic_structure(atoms).compute_dipole()
        return self.populations(atoms=atoms, progress=False).charges

    def _check_closed_shell(self, atoms):
        reason = describe_open_shell(atoms, self.find_charge(atoms))
        if reason is not None and not atoms.pbc.any():
            raise OpenShellError(reason)


def check_charge(charge, name: str = "charge"):
    """InputError unless it is a finite number."""
    if isinstance(charge, bool) or not isinstance(charge, (int, float, np.number)) or not math.isfinite(charge):
        raise InputError(f"{name} must be a number of elementary charges, such as -1, found {charge!r}")
