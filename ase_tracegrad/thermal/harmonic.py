"""HarmonicCrystal: the normal modes of a supercell and how far each moves at a temperature."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.build.supercells import lattice_points_in_supercell
from ase.units import _amu, _hbar, _k
from phonopy import Phonopy
from phonopy.physical_units import get_physical_units

from .phonons import repeat_primitive, supercell_matrix, to_atoms, warn_of_imaginary_modes

# Slower modes are not displaced: these are the three translations.
SLOWEST = 0.05  # THz


@dataclass(frozen=True, eq=False)
class HarmonicCrystal:
    """A supercell of N atoms and its 3N real normal modes.

    primitive; matrix P (3, 3): supercell vectors = P @ primitive vectors; supercell: undisplaced, all atoms of one primitive
    cell after another; frequencies (3N,) THz, imaginary ones negative; modes (3N, N, 3): orthonormal, of displacements times
    square roots of masses.
    """

    primitive: Atoms
    matrix: np.ndarray
    supercell: Atoms
    frequencies: np.ndarray
    modes: np.ndarray

    @classmethod
    def from_phonons(cls, phonons: Phonopy, supercell) -> "HarmonicCrystal":
        """Modes of the given supercell, (3,) or (3, 3) int, from the dynamical matrix at the q-points that fold onto its Gamma.

        D_IJ = 1/N_q sum_q D_ij(q) exp(-2 pi i q.(x_J - x_I)); exact for the supercell of the force constants and its divisors,
        Fourier interpolation for others. The three translations get frequency 0 also from force constants that break the
        acoustic sum rule. ImaginaryModesWarning.
        """
        matrix, primitive = supercell_matrix(supercell), to_atoms(phonons.primitive)
        atoms, cells = repeat_primitive(primitive, matrix)
        places, kinds = atoms.positions @ np.linalg.inv(primitive.cell.array), np.tile(np.arange(len(primitive)), len(cells))
        dynamical = np.zeros((len(places), 3, len(places), 3))
        at_points: Any = phonons.dynamical_matrix
        for q in lattice_points_in_supercell(matrix.T):
            at_points.run(q)
            at_q = at_points.dynamical_matrix.reshape(len(primitive), 3, len(primitive), 3)
            phases = np.exp(2j * np.pi * (places @ q))
            blocks = at_q[kinds][:, :, kinds] * (phases[:, None] * phases.conj()[None, :])[:, None, :, None]
            dynamical += blocks.real / len(cells)
        atoms.set_masses(np.tile(phonons.primitive.masses, len(cells)))
        n = 3 * len(places)
        keep = _without_translations(atoms.get_masses())
        squares, vectors = np.linalg.eigh(keep @ dynamical.reshape(n, n) @ keep)
        frequencies = np.sign(squares) * np.sqrt(np.abs(squares)) * get_physical_units().DefaultToTHz
        warn_of_imaginary_modes(frequencies)
        return cls(primitive, matrix, atoms, frequencies, np.ascontiguousarray(vectors.T).reshape(n, len(places), 3))

    def amplitudes(self, temperature: float) -> np.ndarray:
        """(3N, N, 3) Angstrom: the displacement of each mode by its root mean square at a temperature in K, zero-point motion
        included: sigma^2 = hbar / (2 omega) (2 n + 1), n the Bose-Einstein occupation."""
        if not (np.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"a temperature in K is not negative, found {temperature}")
        moving = np.abs(self.frequencies) > SLOWEST
        omega = 2e12 * np.pi * np.where(moving, np.abs(self.frequencies), 1.0)  # 1/s
        with np.errstate(divide="ignore", over="ignore"):
            occupation = 1 / np.expm1(np.divide(_hbar * omega / _k, temperature))
        sigma = np.where(moving, np.sqrt(_hbar / (2 * omega) * (2 * occupation + 1) / _amu), 0.0) * 1e10
        return sigma[:, None, None] * self.modes / np.sqrt(self.supercell.get_masses())[:, None]

    def mean_squares(self, temperature: float) -> np.ndarray:
        """(N, 3, 3) Angstrom^2: <u_a u_b> of each atom, as neutron and X-ray diffraction see them (less the acoustic modes
        between the q-points of the supercell)."""
        amplitudes = self.amplitudes(temperature)
        return np.einsum("via,vib->iab", amplitudes, amplitudes)

    def displace(self, displacements: np.ndarray) -> Atoms:
        """The supercell with displacements (N, 3) in Angstrom."""
        atoms = self.supercell.copy()
        atoms.positions += displacements
        return atoms


def _without_translations(masses: np.ndarray) -> np.ndarray:
    """(3N, 3N): takes the three translations of the whole crystal out of a dynamical matrix."""
    rigid = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))
    return np.eye(3 * len(masses)) - rigid @ rigid.T
