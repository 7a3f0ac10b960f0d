"""What a DeepH folder is about, from its small files alone: structure, shells, spin. No matrix is opened."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..structure import Structure, StructureError
from .deeph import read_table, read_text
from .poscar import read_poscar
from .sample import FormatError


@dataclass(frozen=True)
class FolderSummary:
    """shells: l of each shell by atomic number; spinful: whether the labels are spinors."""

    structure: Structure
    shells: dict[int, tuple[int, ...]]
    spinful: bool


def read_summary(folder) -> FolderSummary:
    """Of a folder of either DeepH format; FormatError if a file is missing or damaged."""
    from ase.data import atomic_numbers

    folder = Path(folder)
    try:
        facts = json.loads(read_text(folder / "info.json"))
        if (folder / "POSCAR").is_file():
            shells = {atomic_numbers[symbol]: tuple(map(int, row)) for symbol, row in facts["elements_orbital_map"].items()}
            return FolderSummary(read_poscar(folder / "POSCAR"), shells, bool(facts["spinful"]))
        numbers = read_table(folder / "element.dat").astype(int).ravel()
        positions, cell = (read_table(folder / name).T for name in ("site_positions.dat", "lat.dat"))
        structure = Structure(numbers, positions, cell, np.ones(3, dtype=bool))
        lines = [line for line in read_text(folder / "orbital_types.dat").splitlines() if line.strip()]
        shells = {int(z): tuple(map(int, line.split())) for z, line in zip(numbers, lines, strict=True)}
        return FolderSummary(structure, shells, bool(facts["isspinful"]))
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, StructureError) as error:
        raise FormatError(f"{folder}: its small files do not describe a structure: {type(error).__name__}: {error}") from error
