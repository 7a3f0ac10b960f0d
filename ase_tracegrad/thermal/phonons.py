"""Harmonic phonons: from a phonopy file, or by finite displacements with any ASE calculator."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build.supercells import lattice_points_in_supercell
from phonopy import Phonopy
from phonopy.interface.phonopy_yaml import read_phonopy_yaml
from phonopy.physical_units import get_physical_units
from phonopy.structure.atoms import PhonopyAtoms

from ..warn import warn_caller

# Frequencies below -IMAGINARY are imaginary modes; the rounding of acoustic modes at Gamma is smaller.
IMAGINARY = 0.1  # THz
NO_FORCE_CONSTANTS = (
    "the phonopy data hold no force constants: run produce_force_constants() and save with settings={'force_constants': True}"
)


class ImaginaryModesWarning(UserWarning):
    """The harmonic crystal is not stable: its thermal displacements mean little."""


def load_phonons(phonons) -> Phonopy:
    """A Phonopy with force constants, from itself or from a phonopy file (phonopy_params.yaml or the like).

    Nothing is read but the named file: phonopy would also take FORCE_SETS and BORN of the working folder. Raises ValueError.
    """
    if isinstance(phonons, Phonopy):
        found = phonons
    else:
        path = Path(phonons)
        if not path.is_file():
            raise ValueError(f"no phonopy file {path}: expected one with force constants, such as phonopy_params.yaml")
        found = _read_phonopy_file(path)
    if found.force_constants is None:
        raise ValueError(NO_FORCE_CONSTANTS)
    if abs(found.unit_conversion_factor / get_physical_units().DefaultToTHz - 1) > 1e-4:
        raise ValueError("the phonopy data are in the units of another calculator; expected force constants in eV/Angstrom^2")
    return found


def compute_force_constants(atoms: Atoms, potential, supercell, *, distance: float = 0.02) -> Phonopy:
    """Force constants by phonopy's symmetry-reduced displacements of ``distance`` Angstrom.

    atoms: the relaxed primitive cell, isotopes by ``set_masses``; potential: any ASE calculator with forces; supercell: (3,) or
    (3, 3) int. What force is left on the undisplaced atoms is subtracted. The sum rules of translation and the symmetry of
    indices are enforced.
    """
    phonons = Phonopy(to_phonopy(atoms), supercell_matrix(supercell), primitive_matrix="P")
    phonons.generate_displacements(distance=distance)
    rest = _forces(phonons.supercell, potential)
    displaced = phonons.supercells_with_displacements
    assert displaced is not None
    phonons.forces = np.array([_forces(cell, potential) - rest for cell in displaced])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # spglib's, about its future error handling
        phonons.produce_force_constants()
        phonons.symmetrize_force_constants()
    return phonons


def save_phonons(phonons: Phonopy, path):
    """Write a phonopy file that holds the force constants; load_phonons reads it."""
    phonons.save(path, settings={"force_constants": True, "force_sets": False, "displacements": False})


def supercell_matrix(supercell) -> np.ndarray:
    """(3, 3) int from three numbers or nine: supercell vectors = matrix @ primitive vectors; ValueError for anything else."""
    matrix = np.asarray(supercell)
    if matrix.shape == (3,):
        matrix = np.diag(matrix)
    if matrix.shape != (3, 3) or not np.issubdtype(matrix.dtype, np.integer) or round(np.linalg.det(matrix)) < 1:
        raise ValueError(
            f"a supercell is three positive whole numbers, or a matrix (3, 3) of positive determinant; found {supercell}"
        )
    return matrix


def repeat_primitive(primitive: Atoms, matrix: np.ndarray) -> tuple[Atoms, np.ndarray]:
    """The supercell, all atoms of one primitive cell after another, the cell at the origin first; and the cells (C, 3) int."""
    cells = np.rint(lattice_points_in_supercell(matrix) @ matrix).astype(int)
    # ASE sorts them by their place in the supercell: with turned axes the origin is not always the first.
    cells = cells[np.argsort(cells.any(axis=1), kind="stable")]
    places = cells[:, None] + primitive.get_scaled_positions(wrap=False)[None]
    numbers = np.tile(primitive.numbers, len(cells))
    supercell = Atoms(numbers, places.reshape(-1, 3) @ primitive.cell.array, cell=matrix @ primitive.cell.array, pbc=primitive.pbc)
    return supercell, cells


def warn_of_imaginary_modes(frequencies: np.ndarray):
    """ImaginaryModesWarning if any of the frequencies (THz, imaginary ones negative) is imaginary."""
    imaginary = frequencies[frequencies < -IMAGINARY]
    if len(imaginary):
        warn_caller(
            f"{len(imaginary)} of {len(frequencies)} modes are imaginary, down to {imaginary.min():.2f} THz: the structure is "
            "not at a minimum of these force constants. They are displaced as with |frequency|, which has no physical meaning: "
            "relax the structure, or take force constants that are valid at finite temperature",
            ImaginaryModesWarning,
        )


def to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    """The same structure as phonopy's type, with the masses of isotopes if they were set."""
    masses = atoms.get_masses() if atoms.has("masses") else None
    places = atoms.get_scaled_positions(wrap=False)
    return PhonopyAtoms(numbers=atoms.numbers, cell=np.array(atoms.cell), scaled_positions=places, masses=masses)


def to_atoms(cell: PhonopyAtoms, pbc=True) -> Atoms:
    """The same structure as ASE's type."""
    return Atoms(numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=pbc)


def _read_phonopy_file(path: Path) -> Phonopy:
    """phonopy.load would also read FORCE_SETS, FORCE_CONSTANTS and BORN of the working folder, whatever they belong to."""
    try:
        stored = read_phonopy_yaml(path)
        if stored.unitcell is None or stored.supercell_matrix is None:
            raise ValueError("it holds no unit cell and supercell matrix")
        if stored.force_constants is None:
            raise ValueError(NO_FORCE_CONSTANTS)
        _check_numbers(stored)
        primitive: Any = "P" if stored.primitive_matrix is None else stored.primitive_matrix
        found = Phonopy(stored.unitcell, stored.supercell_matrix, primitive_matrix=primitive, calculator=stored.calculator)
        found.force_constants = stored.force_constants
    except Exception as error:
        # phonopy and its parsers raise whatever they meet: yaml.YAMLError, RuntimeError, AssertionError ...
        raise ValueError(
            f"{path} is no phonopy file that can be used ({error or type(error).__name__}): expected one with force "
            "constants, such as phonopy_params.yaml; of a structure, "
            "compute_force_constants makes them (on the command line --potential)"
        ) from error
    return found


def _check_numbers(stored):
    """ValueError for numbers that are not finite, and for a supercell that is not that of the force constants, however large."""
    cell, constants = stored.unitcell, np.asarray(stored.force_constants)
    if not all(np.isfinite(x).all() for x in (cell.cell, cell.scaled_positions, cell.masses, constants)):
        raise ValueError("it holds numbers that are not finite")
    if not (cell.masses > 0).all():
        raise ValueError(f"it holds a mass that is not positive: {cell.masses.min():g}")
    expected = len(cell) * abs(np.linalg.det(np.asarray(stored.supercell_matrix, dtype=float)))
    if constants.ndim != 4 or constants.shape[2:] != (3, 3) or not abs(constants.shape[1] - expected) < 0.5:
        raise ValueError(f"its supercell has {expected:g} atoms, its force constants have the shape {constants.shape}")


def _forces(cell: PhonopyAtoms, potential) -> np.ndarray:
    atoms = to_atoms(cell)
    atoms.calc = potential
    return atoms.get_forces()
