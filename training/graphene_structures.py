"""The graphene data set as a rule: every structure, its split and its k mesh follow from a name and a seed."""

import numpy as np
from ase import Atoms
from ase.build import graphene
from label_rules import LabelStructure, mix_groups, ripple, split_of, strain_in_plane

LATTICE_CONSTANT = 2.46  # Angstrom
VACUUM_CELL = 10.0  # Angstrom; MOLOPT-SR carbon orbitals end at 7.2, so periodic images along z do not couple
K_DENSITY = 12  # the primitive cell's mesh; a n x n supercell gets 12 / n, the same points folded
N_2X2, N_3X3 = 180, 70  # displaced cells of the whole set
MORE_RIPPLES = {2: 70, 3: 50}  # from this index on, every second n x n cell is rippled: ripples are what long cells need


def make_structures(n_2x2: int = N_2X2, n_3x3: int = N_3X3) -> list[LabelStructure]:
    """All structures, in the order of ``mix_groups``."""
    groups = [
        [_displaced(2, i) for i in range(n_2x2)],
        [_displaced(3, i) for i in range(n_3x3)],
        [_primitive(i, scale) for i, scale in enumerate(PRIMITIVE_SCALES)],
        [_with_vacuum(i, *values) for i, values in enumerate(VACUUM_CELLS)],
        [_rippled_4x4(i) for i in range(3)] + [_rippled_rectangle(i) for i in range(2)],
    ]
    return mix_groups(groups)


PRIMITIVE_SCALES = (0.96, 0.97, 0.975, 0.985, 0.99, 1.0, 1.01, 1.015, 1.025, 1.03, 1.04)
PRIMITIVE_TEST = (0.97, 0.985, 1.0, 1.015, 1.03)
# Scale and height of primitive cells that tell the volume's part of the energy zero from the sheet's own part.
VACUUM_CELLS = ((1.01, 12.0), (0.975, 14.0), (1.025, 16.0), (1.0, 13.0))
VACUUM_TEST = (13.0,)


def _primitive(index: int, scale: float) -> LabelStructure:
    split = "test" if scale in PRIMITIVE_TEST else "train"
    return LabelStructure(f"x1-{index:03d}", split, _sheet(1, scale), (K_DENSITY, K_DENSITY, 1), [])


def _with_vacuum(index: int, scale: float, height: float) -> LabelStructure:
    atoms = _sheet(1, scale)
    atoms.cell[2, 2] = height
    split = "test" if height in VACUUM_TEST else "train"
    return LabelStructure(f"vacuum-{index:03d}", split, atoms, (K_DENSITY, K_DENSITY, 1), [])


def _displaced(n: int, index: int) -> LabelStructure:
    """Uniform displacements to 0.1 A; half of the cells strained to 4 %, some rippled instead of fully displaced."""
    seed = [n, index]
    rng = np.random.default_rng(seed)
    atoms = _sheet(n)
    if index % 4 in (1, 2):
        strain_in_plane(atoms, rng, 0.04)
    rippled = index % 7 == 3 or (index >= MORE_RIPPLES[n] and index % 2 == 0)
    if rippled:
        ripple(atoms, rng, 0.06)
    atoms.positions += rng.uniform(-1, 1, atoms.positions.shape) * (0.05 if rippled else 0.1)
    return LabelStructure(f"x{n}-{index:03d}", split_of(index), atoms, (K_DENSITY // n, K_DENSITY // n, 1), seed)


def _rippled_4x4(index: int) -> LabelStructure:
    seed = [4, index]
    rng = np.random.default_rng(seed)
    atoms = _sheet(4)
    ripple(atoms, rng, 0.06)
    atoms.positions += rng.uniform(-0.05, 0.05, atoms.positions.shape)
    return LabelStructure(f"x4-{index:03d}", "test", atoms, (3, 3, 1), seed)


def _rippled_rectangle(index: int) -> LabelStructure:
    """4 x 2 rectangular cells, 32 atoms."""
    seed = [42, index]
    rng = np.random.default_rng(seed)
    a = LATTICE_CONSTANT
    cell = [a, np.sqrt(3) * a, VACUUM_CELL]
    basis = np.array([[0, 0], [0.5, 1 / 6], [0.5, 0.5], [0, 2 / 3]])
    atoms = Atoms("C4", cell=cell, pbc=True, scaled_positions=np.c_[basis, np.zeros(4)]) * (4, 2, 1)
    ripple(atoms, rng, 0.06)
    atoms.positions += rng.uniform(-0.05, 0.05, atoms.positions.shape)
    return LabelStructure(f"rect-{index:03d}", "test", atoms, (3, 3, 1), seed)


def _sheet(n: int, scale: float = 1.0) -> Atoms:
    atoms = graphene(a=LATTICE_CONSTANT * scale, vacuum=None)
    atoms.cell[2] = [0, 0, VACUUM_CELL]
    atoms.pbc = True
    return atoms * (n, n, 1)
