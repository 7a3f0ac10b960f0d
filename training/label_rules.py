"""What the rules of the label sets share: splits, strain, ripples, an order in which any beginning is a mixture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from ase import Atoms

GOLDEN_PATH_POINTS = 12
ABOVE_FERMI = 3.0  # eV; states up to here count when bands are compared, as in tracegrad evaluate
HEXAGONAL = np.array([[0, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0], [0, 0, 0]])  # G-M-K-G of a hexagonal (sheared) cell
FACE_CENTRED = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0.5], [0.375, 0.375, 0.75]])  # L-G-X-K of a (sheared) primitive cell
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class LabelStructure:
    """One entry of a label set; ``split`` is train, validation or test."""

    name: str
    split: str
    atoms: Atoms
    kpoints: tuple[int, int, int]
    seed: list[int]


def mix_groups(groups: Sequence[Sequence[Entry]], *, held_out_first: bool = True) -> list[Entry]:
    """All structures (anything with a ``split``) as a mixture of the groups at any point of the list.

    held_out_first: what validates and tests stands before the mixture of what trains.
    """
    keyed = [
        (held_out_first and item.split == "train", (k + 0.5) / len(group), item) for group in groups for k, item in enumerate(group)
    ]
    return [item for *_, item in sorted(keyed, key=lambda entry: entry[:2])]


def split_of(index: int) -> str:
    """Displaced cells: the last digit of the index decides."""
    return {9: "test", 8: "validation"}.get(index % 10, "train")


def strain_in_plane(atoms: Atoms, rng: np.random.Generator, largest: float):
    """Biaxial and shear strain, each up to ``largest``."""
    biaxial, size, angle = rng.uniform(-largest, largest), rng.uniform(0, largest), rng.uniform(0, 2 * np.pi)
    strain = np.eye(3)
    strain[0, 0] += biaxial + size * np.cos(angle)
    strain[1, 1] += biaxial - size * np.cos(angle)
    strain[0, 1] = strain[1, 0] = size * np.sin(angle)
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)


def ripple(atoms: Atoms, rng: np.random.Generator, largest: float):
    """A commensurate out-of-plane wave of amplitude up to ``largest`` wavelengths."""
    waves = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    wave = waves[rng.integers(3)]
    wavelength = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array) @ wave)
    phase = 2 * np.pi * (atoms.get_scaled_positions(wrap=False) @ wave + rng.uniform())
    atoms.positions[:, 2] += rng.uniform(0.3, 1.0) * largest * wavelength * np.cos(phase)


def band_path(corners: np.ndarray = HEXAGONAL) -> np.ndarray:
    """A path through corners (C, 3) in fractions of the reciprocal cell, GOLDEN_PATH_POINTS to each part, (K, 3)."""
    steps = np.arange(GOLDEN_PATH_POINTS)[:, None] / GOLDEN_PATH_POINTS
    segments = [a + steps * (b - a) for a, b in zip(corners[:-1], corners[1:], strict=True)]
    return np.concatenate([*segments, corners[-1:]])
