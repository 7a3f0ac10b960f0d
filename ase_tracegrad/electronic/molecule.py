"""Levels of a molecule with closed shells: orbital energies, occupations, HOMO and LUMO, density matrix, dipole moment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..blocks import BlockMatrix
from ..closed_shell import OpenShellError
from .bloch import BlochSum
from .eigen import solve_bloch
from .occupations import check_electrons

# A gap below this is none: which of the two levels is filled would be decided by noise.
SMALLEST_GAP = 1e-3  # eV


@dataclass(frozen=True, eq=False)
class Levels:
    """Solutions of H C = S C E at R = 0, filled from below.

    energies (n,) eV, ascending; occupations (n,) electrons; coefficients (N, n), columns with c^+ S c = 1 (2N rows for
    spinors); n is N less the modes of S that were left out.
    """

    energies: np.ndarray
    occupations: np.ndarray
    coefficients: np.ndarray

    @property
    def n_filled(self) -> int:
        """Number of filled levels: the index of the LUMO."""
        return int(np.count_nonzero(self.occupations))

    @property
    def homo(self) -> float:
        """Energy of the highest filled level, eV."""
        return float(self.energies[self.n_filled - 1])

    @property
    def lumo(self) -> float:
        """Energy of the lowest empty level, eV."""
        return float(self.energies[self.n_filled])

    @property
    def gap(self) -> float:
        """LUMO minus HOMO, eV."""
        return self.lumo - self.homo

    @property
    def fermi_level(self) -> float:
        """The middle of the gap, eV."""
        return (self.homo + self.lumo) / 2

    @property
    def density_matrix(self) -> np.ndarray:
        """P = C n C^+, (N, N), both spins together; trace of P S is the number of electrons."""
        filled = self.coefficients[:, : self.n_filled]
        return (filled * self.occupations[: self.n_filled]) @ filled.conj().T

    def format_table(self, around: int = 5) -> str:
        """Lines of number (from 1), energy and occupation of so many levels on each side of the gap, and the gap."""
        names = {self.n_filled - 1: "HOMO", self.n_filled: "LUMO"}
        shown = range(max(0, self.n_filled - around), min(len(self.energies), self.n_filled + around))
        lines = [f"{'level':<10}{'energy (eV)':>13}{'electrons':>11}"]
        lines += [
            f"{level + 1:<5}{names.get(level, ''):<5}{self.energies[level]:>13.4f}{self.occupations[level]:>11.0f}"
            for level in shown
        ]
        return "\n".join([*lines, f"gap {self.gap:.4f} eV, its middle (Fermi level) at {self.fermi_level:.4f} eV"])

    def __str__(self) -> str:
        return self.format_table()


def solve_levels(sums: BlochSum, n_electrons: float, *, spin_degeneracy: int = 2) -> Levels:
    """The levels of H and S of a molecule; spin_degeneracy: electrons per level, 2, or 1 for spinors.

    Raises OpenShellError where a level would be partly filled, by count or because HOMO and LUMO are closer than SMALLEST_GAP;
    ElectronCountError for a count that the levels cannot hold; ValueError if all are filled.
    """
    solution = solve_bloch(sums, [[0.0, 0.0, 0.0]], eigenvectors=True)
    assert solution.coefficients is not None
    energies, coefficients = solution.energies[0], solution.coefficients[0]
    check_electrons(n_electrons, len(energies), spin_degeneracy)
    n_filled = round(n_electrons / spin_degeneracy)
    if abs(n_filled * spin_degeneracy - n_electrons) > 1e-6:
        raise OpenShellError(
            f"{n_electrons:g} electrons leave a level partly filled; only closed shells are supported: is this an ion, "
            "whose charge is missing, or a radical?"
        )
    if n_filled == len(energies):
        raise ValueError(f"all {n_filled} levels are filled: the basis holds no empty one")
    gap = energies[n_filled] - energies[n_filled - 1]
    if gap < SMALLEST_GAP:
        raise OpenShellError(
            f"the highest filled and the lowest empty level are {gap:.1e} eV apart: their electrons are not paired in one of "
            "them, and only closed shells are supported. If H is predicted, its error may have closed the gap: look for warnings"
        )
    if not np.iscomplexobj(sums.hamiltonian.values):
        coefficients = coefficients.real.copy()  # eigenvectors of real matrices, which the solver returns as complex numbers
    occupations = np.where(np.arange(len(energies)) < n_filled, float(spin_degeneracy), 0.0)
    return Levels(energies, occupations, coefficients)


def compute_dipole(levels: Levels, integrals: Sequence[BlockMatrix], positions: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """Dipole moment (3,) in e Angstrom, from minus to plus: sum_a Z_a R_a - tr P r.

    integrals: <phi_i| r |phi_j> by dipole.compute_dipole_integrals; positions (N, 3) Angstrom of nuclei of charges (N,) in e,
    less the core electrons that a pseudopotential replaces. Of an ion it is that about the origin of the coordinates.
    """
    n_spin = len(levels.coefficients) // integrals[0].n_orbitals
    matrix = levels.density_matrix.reshape(n_spin, integrals[0].n_orbitals, n_spin, integrals[0].n_orbitals)
    spatial = np.einsum("sisj->ij", matrix)
    electrons = [np.vdot(component.bloch([0.0, 0.0, 0.0])[0], spatial).real for component in integrals]
    return charges @ positions - np.array(electrons)
