"""The MoS2 data set as a rule: every structure, its split and its k mesh follow from a name and a seed."""

import numpy as np
from ase import Atoms
from ase.build import mx2
from label_rules import LabelStructure, mix_groups, ripple, split_of, strain_in_plane

LATTICE_CONSTANT, THICKNESS = 3.18, 3.13  # Angstrom, S to S
CELL_HEIGHT = 18.0  # Angstrom; the orbitals of S end at 8.6, so periodic images along z do not couple
K_DENSITY = 6  # the primitive cell's mesh; a n x n supercell gets 6 / n, the same points folded
N_2X2, N_3X3 = 60, 20
PRIMITIVE_SCALES = (0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03)
PRIMITIVE_TEST = (0.98, 1.0, 1.02)
MORE_VACUUM = ((21.0, "train"), (24.0, "test"), (28.0, "train"))  # Angstrom; two cells to learn the energy zero from


def make_structures(n_2x2: int = N_2X2, n_3x3: int = N_3X3) -> list[LabelStructure]:
    """All structures, in the order of ``mix_groups``."""
    groups = [
        [_displaced(2, i) for i in range(n_2x2)],
        [_displaced(3, i) for i in range(n_3x3)],
        [_primitive(i, scale) for i, scale in enumerate(PRIMITIVE_SCALES)],
        [_in_more_vacuum(i, height, split) for i, (height, split) in enumerate(MORE_VACUUM)],
    ]
    return mix_groups(groups)


def _primitive(index: int, scale: float) -> LabelStructure:
    split = "test" if scale in PRIMITIVE_TEST else "train"
    return LabelStructure(f"x1-{index:03d}", split, make_layer(1, scale), (K_DENSITY, K_DENSITY, 1), [])


def _in_more_vacuum(index: int, height: float, split: str) -> LabelStructure:
    atoms = make_layer(1)
    atoms.cell[2, 2] = height
    return LabelStructure(f"vacuum-{index:03d}", split, atoms, (K_DENSITY, K_DENSITY, 1), [])


def _displaced(n: int, index: int) -> LabelStructure:
    """Uniform displacements to 0.1 A; half of the cells strained to 3 %, one in seven rippled instead of fully displaced."""
    seed = [42, n, index]
    rng = np.random.default_rng(seed)
    atoms = make_layer(n)
    if index % 4 in (1, 2):
        strain_in_plane(atoms, rng, 0.03)
    rippled = index % 7 == 3
    if rippled:
        ripple(atoms, rng, 0.03)
    atoms.positions += rng.uniform(-1, 1, atoms.positions.shape) * (0.05 if rippled else 0.1)
    return LabelStructure(f"x{n}-{index:03d}", split_of(index), atoms, (K_DENSITY // n, K_DENSITY // n, 1), seed)


def make_layer(n: int, scale: float = 1.0) -> Atoms:
    """A n x n cell of the monolayer, in-plane vectors times ``scale``; atoms lie about z = 0."""
    atoms = mx2("MoS2", a=LATTICE_CONSTANT * scale, thickness=THICKNESS, vacuum=None)
    atoms.cell[2] = [0, 0, CELL_HEIGHT]
    atoms.pbc = True
    atoms.positions[:, 2] -= atoms.positions[0, 2]
    return atoms * (n, n, 1)
