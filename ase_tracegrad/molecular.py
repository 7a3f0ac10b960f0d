"""MolecularProperties: what the calculator answers about molecules: charge, levels, HOMO and LUMO, atomic charges, dipole."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError

from .batching import find_charge
from .closed_shell import OpenShellError, describe_open_shell
from .electronic.molecule import Levels
from .electronic.populations import Populations
from .electronic_structure import ElectronicStructure

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
        return find_charge(self._current_atoms(atoms), self.parameters["charge"])

    def _calculate_from_density(self, name: str, atoms) -> np.ndarray:
        """One of FROM_DENSITY: Mulliken charges (N,) in e, or the dipole moment (3,) in e Angstrom."""
        if name == "dipole" and atoms.pbc.any():
            raise PropertyNotImplementedError(
                f"dipole: positions are not defined in a structure that is periodic (pbc {atoms.pbc.tolist()}); for a molecule "
                "in a box set atoms.pbc = False"
            )
        try:
            self._check_closed_shell(atoms)
            if name == "dipole":
                return self.electronic_structure(atoms).compute_dipole()
            return self.populations(atoms=atoms, progress=False).charges
        except OpenShellError as error:
            raise PropertyNotImplementedError(f"{name}: {error}") from error

    def _check_closed_shell(self, atoms):
        reason = describe_open_shell(atoms, self.find_charge(atoms))
        if reason is not None and not atoms.pbc.any():
            raise OpenShellError(reason)
