"""The graphene data set as a rule: every structure, its split and its k mesh follow from a name and a seed."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import graphene

LATTICE_CONSTANT = 2.46  # Angstrom
VACUUM_CELL = 10.0  # Angstrom; MOLOPT-SR carbon orbitals end at 7.2, so periodic images along z do not couple
K_DENSITY = 12  # the primitive cell's mesh; a n x n supercell gets 12 / n, the same points folded
GOLDEN_PATH_POINTS = 12
N_2X2, N_3X3 = 180, 70  # displaced cells of the whole set
MORE_RIPPLES = {2: 70, 3: 50}  # from this index on, every second n x n cell is rippled: ripples are what long cells need


@dataclass(frozen=True)
class GrapheneStructure:
    """One entry of the data set; ``split`` is train, validation or test."""

    name: str
    split: str
    atoms: Atoms
    kpoints: tuple[int, int, int]
    seed: list[int]


def make_structures(n_2x2: int = N_2X2, n_3x3: int = N_3X3) -> list[GrapheneStructure]:
    """All structures: what validates and tests first, then a mixture at any point of the list."""
    groups = [
        [_displaced(2, i) for i in range(n_2x2)],
        [_displaced(3, i) for i in range(n_3x3)],
        [_primitive(i, scale) for i, scale in enumerate(PRIMITIVE_SCALES)],
        [_with_vacuum(i, *values) for i, values in enumerate(VACUUM_CELLS)],
        [_rippled_4x4(i) for i in range(3)] + [_rippled_rectangle(i) for i in range(2)],
    ]
    keyed = [(item.split == "train", (k + 0.5) / len(group), item) for group in groups for k, item in enumerate(group)]
    return [item for *_, item in sorted(keyed, key=lambda entry: entry[:2])]


PRIMITIVE_SCALES = (0.96, 0.97, 0.975, 0.985, 0.99, 1.0, 1.01, 1.015, 1.025, 1.03, 1.04)
PRIMITIVE_TEST = (0.97, 0.985, 1.0, 1.015, 1.03)
# Scale and height of primitive cells that tell the volume's part of the energy zero from the sheet's own part.
VACUUM_CELLS = ((1.01, 12.0), (0.975, 14.0), (1.025, 16.0), (1.0, 13.0))
VACUUM_TEST = (13.0,)


def split_of(index: int) -> str:
    """Displaced cells: the last digit of the index decides."""
    return {9: "test", 8: "validation"}.get(index % 10, "train")


def _primitive(index: int, scale: float) -> GrapheneStructure:
    split = "test" if scale in PRIMITIVE_TEST else "train"
    return GrapheneStructure(f"x1-{index:03d}", split, _sheet(1, scale), (K_DENSITY, K_DENSITY, 1), [])


def _with_vacuum(index: int, scale: float, height: float) -> GrapheneStructure:
    atoms = _sheet(1, scale)
    atoms.cell[2, 2] = height
    split = "test" if height in VACUUM_TEST else "train"
    return GrapheneStructure(f"vacuum-{index:03d}", split, atoms, (K_DENSITY, K_DENSITY, 1), [])


def _displaced(n: int, index: int) -> GrapheneStructure:
    """Uniform displacements to 0.1 A; half of the cells strained to 4 %, some rippled instead of fully displaced."""
    seed = [n, index]
    rng = np.random.default_rng(seed)
    atoms = _sheet(n)
    if index % 4 in (1, 2):
        _strain(atoms, rng, 0.04)
    rippled = index % 7 == 3 or (index >= MORE_RIPPLES[n] and index % 2 == 0)
    if rippled:
        _ripple(atoms, rng, 0.06)
    atoms.positions += rng.uniform(-1, 1, atoms.positions.shape) * (0.05 if rippled else 0.1)
    return GrapheneStructure(f"x{n}-{index:03d}", split_of(index), atoms, (K_DENSITY // n, K_DENSITY // n, 1), seed)


def _rippled_4x4(index: int) -> GrapheneStructure:
    seed = [4, index]
    rng = np.random.default_rng(seed)
    atoms = _sheet(4)
    _ripple(atoms, rng, 0.06)
    atoms.positions += rng.uniform(-0.05, 0.05, atoms.positions.shape)
    return GrapheneStructure(f"x4-{index:03d}", "test", atoms, (3, 3, 1), seed)


def _rippled_rectangle(index: int) -> GrapheneStructure:
    """4 x 2 rectangular cells, 32 atoms."""
    seed = [42, index]
    rng = np.random.default_rng(seed)
    a = LATTICE_CONSTANT
    cell = [a, np.sqrt(3) * a, VACUUM_CELL]
    basis = np.array([[0, 0], [0.5, 1 / 6], [0.5, 0.5], [0, 2 / 3]])
    atoms = Atoms("C4", cell=cell, pbc=True, scaled_positions=np.c_[basis, np.zeros(4)]) * (4, 2, 1)
    _ripple(atoms, rng, 0.06)
    atoms.positions += rng.uniform(-0.05, 0.05, atoms.positions.shape)
    return GrapheneStructure(f"rect-{index:03d}", "test", atoms, (3, 3, 1), seed)


def _sheet(n: int, scale: float = 1.0) -> Atoms:
    atoms = graphene(a=LATTICE_CONSTANT * scale, vacuum=None)
    atoms.cell[2] = [0, 0, VACUUM_CELL]
    atoms.pbc = True
    return atoms * (n, n, 1)


def _strain(atoms: Atoms, rng: np.random.Generator, largest: float):
    """Biaxial and shear strain, each up to ``largest``."""
    biaxial, size, angle = rng.uniform(-largest, largest), rng.uniform(0, largest), rng.uniform(0, 2 * np.pi)
    strain = np.eye(3)
    strain[0, 0] += biaxial + size * np.cos(angle)
    strain[1, 1] += biaxial - size * np.cos(angle)
    strain[0, 1] = strain[1, 0] = size * np.sin(angle)
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)


def _ripple(atoms: Atoms, rng: np.random.Generator, largest: float):
    """A commensurate out-of-plane wave of amplitude up to ``largest`` wavelengths."""
    waves = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    wave = waves[rng.integers(3)]
    wavelength = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array) @ wave)
    phase = 2 * np.pi * (atoms.get_scaled_positions(wrap=False) @ wave + rng.uniform())
    atoms.positions[:, 2] += rng.uniform(0.3, 1.0) * largest * wavelength * np.cos(phase)


def band_path() -> np.ndarray:
    """G-M-K-G in fractions of the reciprocal cell of a hexagonal (sheared) cell, (K, 3)."""
    corners = np.array([[0, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0], [0, 0, 0]])
    steps = np.arange(GOLDEN_PATH_POINTS)[:, None] / GOLDEN_PATH_POINTS
    segments = [a + steps * (b - a) for a, b in zip(corners[:-1], corners[1:], strict=True)]
    return np.concatenate([*segments, corners[-1:]])
