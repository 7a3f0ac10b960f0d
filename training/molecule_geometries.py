"""Bonds of a molecule from its geometry, a key of its constitution, and thermal geometries around its minimum.

Thermal geometries are drawn from the Boltzmann distribution of a spring model, without forces: springs between atoms that are
1, 2 or 3 bonds apart, at rest in the given geometry. It stands for short MD runs where no force field knows every element.
"""

import hashlib

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.sparse.csgraph import shortest_path

from ase_tracegrad.units import BOLTZMANN

BOND = 1.25  # bonded below this sum of covalent radii
STIFFNESS = {1: 30.0, 2: 4.0, 3: 0.5}  # eV / Angstrom^2, by bonds between two atoms: stretching, bending, torsion
SOFTEST = 4.0  # eV / Angstrom^2: bends of linear molecules have no spring, and long linear displacements would stretch bonds
CLOSEST = 0.72  # of the distance at rest: nearer atoms are drawn again


def bonds_of(atoms: Atoms) -> np.ndarray:
    """(N, N) bool, which atoms are bonded, by their distance."""
    radii = covalent_radii[atoms.numbers]
    bonded = atoms.get_all_distances() < BOND * (radii[:, None] + radii)
    np.fill_diagonal(bonded, False)
    return bonded


def constitution_key(numbers, bonded: np.ndarray) -> str:
    """A text that is equal for equal bond graphs, whatever the order of atoms and the bond orders (Weisfeiler-Lehman)."""
    labels = [str(z) for z in numbers]
    for _ in range(len(labels)):
        labels = [
            hashlib.sha256(f"{labels[i]}({','.join(sorted(labels[j] for j in np.nonzero(bonded[i])[0]))})".encode()).hexdigest()
            for i in range(len(labels))
        ]
    return hashlib.sha256(",".join(sorted(labels)).encode()).hexdigest()


def draw_thermal(atoms: Atoms, springs: tuple[np.ndarray, np.ndarray], temperature: float, seed: list[int]) -> Atoms:
    """A copy displaced as in the spring model at a temperature in K; no two atoms come much nearer than at rest.

    springs: what ``spring_modes(atoms)`` returns.
    """
    rng = np.random.default_rng(seed)
    stiffness, modes = springs
    widths = np.sqrt(BOLTZMANN * temperature / np.maximum(stiffness, SOFTEST))
    rest = atoms.get_all_distances()
    for _ in range(100):
        drawn = atoms.copy()
        drawn.positions += (modes @ (widths * rng.normal(size=len(widths)))).reshape(-1, 3)
        if (drawn.get_all_distances() >= CLOSEST * rest).all():
            return drawn
    raise ValueError(f"{atoms.get_chemical_formula()} at {temperature} K: every draw has atoms too close; lower the temperature")


def spring_modes(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Stiffness (M,) in eV / Angstrom^2 and modes (3N, M) of the springs, without translations and rotations."""
    n = len(atoms)
    apart = shortest_path(bonds_of(atoms), unweighted=True)
    hessian = np.zeros((3 * n, 3 * n))
    for i, j in zip(*np.triu_indices(n, 1), strict=True):
        if apart[i, j] in STIFFNESS:
            direction = atoms.positions[j] - atoms.positions[i]
            direction /= np.linalg.norm(direction)
            spread = np.zeros(3 * n)
            spread[3 * i : 3 * i + 3], spread[3 * j : 3 * j + 3] = -direction, direction
            hessian += STIFFNESS[apart[i, j]] * np.outer(spread, spread)
    internal = _internal_space(atoms.positions)
    stiffness, modes = np.linalg.eigh(internal.T @ hessian @ internal)
    return stiffness, internal @ modes


def _internal_space(positions: np.ndarray) -> np.ndarray:
    """Orthonormal displacements (3N, M) that neither shift nor turn the molecule; M = 3N - 6, or 3N - 5 of a linear one."""
    centred = positions - positions.mean(axis=0)
    rigid = [np.tile(axis, len(positions)) for axis in np.eye(3)]
    rigid += [np.cross(axis, centred).ravel() for axis in np.eye(3)]
    vectors, values, _ = np.linalg.svd(np.array(rigid).T)
    return vectors[:, np.count_nonzero(values > 1e-6) :]
