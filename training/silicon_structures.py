"""The silicon data set as a rule: every structure, its split and its k mesh follow from a name and a seed."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from label_rules import LabelStructure, mix_groups, split_of

LATTICE_CONSTANT = 5.47  # Angstrom, PBE
K_DENSITY = 6  # the primitive cell's mesh; a supercell gets the same points folded
N_2X1X1, N_2X2X2 = 80, 24
LARGEST_STRAIN, LARGEST_DISPLACEMENT = 0.03, 0.15  # Angstrom
PRIMITIVE_SCALES = (0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03)
PRIMITIVE_TEST = (0.98, 1.0, 1.02)


def make_structures(n_2x1x1: int = N_2X1X1, n_2x2x2: int = N_2X2X2) -> list[LabelStructure]:
    """All structures, in the order of ``mix_groups``."""
    groups = [
        [_displaced((2, 1, 1), i) for i in range(n_2x1x1)],
        [_displaced((2, 2, 2), i) for i in range(n_2x2x2)],
        [_primitive(i, scale) for i, scale in enumerate(PRIMITIVE_SCALES)],
    ]
    return mix_groups(groups)


def _primitive(index: int, scale: float) -> LabelStructure:
    split = "test" if scale in PRIMITIVE_TEST else "train"
    return LabelStructure(f"x1-{index:03d}", split, make_crystal((1, 1, 1), scale), (K_DENSITY,) * 3, [])


def _displaced(repeats: tuple[int, int, int], index: int) -> LabelStructure:
    """Uniform displacements to 0.15 A, less in every third cell; half of the cells strained to 3 % in every direction."""
    seed = [43, *repeats, index]
    rng = np.random.default_rng(seed)
    atoms = make_crystal(repeats)
    if index % 4 in (1, 2):
        strain = rng.uniform(-LARGEST_STRAIN, LARGEST_STRAIN, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    largest = LARGEST_DISPLACEMENT * (0.4 if index % 3 == 2 else 1.0)
    atoms.positions += rng.uniform(-1, 1, atoms.positions.shape) * largest
    a, b, c = repeats
    mesh = (K_DENSITY // a, K_DENSITY // b, K_DENSITY // c)
    return LabelStructure(f"{a}x{b}x{c}-{index:03d}", split_of(index), atoms, mesh, seed)


def make_crystal(repeats: tuple[int, int, int], scale: float = 1.0) -> Atoms:
    """Diamond-structure silicon of so many primitive cells, the lattice constant times ``scale``."""
    return bulk("Si", "diamond", a=LATTICE_CONSTANT * scale) * repeats
