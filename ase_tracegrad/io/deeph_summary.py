"""What a DeepH folder is about, from its small files alone: structure, shells, spin. No matrix is opened."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..basis import LAST_ELEMENT, AtomicBasis, Basis
from ..damage import DAMAGE
from ..structure import Structure, StructureError
from ..symbols import number_of
from .poscar import read_poscar
from .sample import FormatError


@dataclass(frozen=True)
class FolderSummary:
    """basis: shells without radial functions; spinful: whether the labels are spinors; facts: content of info.json."""

    structure: Structure
    basis: Basis
    spinful: bool
    facts: dict[str, Any]

    @property
    def shells(self) -> dict[int, tuple[int, ...]]:
        """l of each shell by atomic number."""
        return {number: atom.angular_momenta for number, atom in self.basis.atoms.items()}


def read_summary(folder) -> FolderSummary:
    """Of a folder of either DeepH format; FormatError if a file is missing or damaged."""
    folder = Path(folder)
    return read_new_summary(folder) if (folder / "POSCAR").is_file() else read_legacy_summary(folder)


def read_legacy_summary(folder: Path) -> FolderSummary:
    """element.dat, lat.dat, site_positions.dat, orbital_types.dat and info.json of the legacy format."""
    facts = _read_info(folder, ("isspinful",))
    cell, positions = (_read_table(folder / name).T for name in ("lat.dat", "site_positions.dat"))
    numbers = _read_numbers(folder / "element.dat")
    try:
        structure = Structure(numbers, positions, cell, np.ones(3, dtype=bool))
    except StructureError as error:
        raise FormatError(f"{folder}: element.dat, site_positions.dat and lat.dat give no structure: {error}") from error
    _check_reciprocal(folder, cell)
    path = folder / "orbital_types.dat"
    rows = [line.split() for line in _read_text(path).splitlines() if line.strip()]
    if len(rows) != len(numbers):
        raise FormatError(f"{path}: expected a line for each of {len(numbers)} atoms, found {len(rows)}")
    atoms: dict[int, AtomicBasis] = {}
    for number, row in zip(numbers.tolist(), rows, strict=True):
        try:
            atom = _parse_shells(number, row)
        except DAMAGE as error:
            raise FormatError(f"{path}: expected the l of each shell, one atom a line: {error}") from error
        if atoms.setdefault(number, atom) != atom:
            raise FormatError(f"{path}: element {number} has two sets of shells, which is not supported")
    return FolderSummary(structure, Basis(atoms), bool(facts["isspinful"]), facts)


def read_new_summary(folder: Path) -> FolderSummary:
    """POSCAR and info.json of the new format."""
    facts = _read_info(folder, ("spinful", "elements_orbital_map"))
    structure, path = read_poscar(folder / "POSCAR"), folder / "info.json"
    try:
        atoms = {number_of(symbol): _parse_shells(number_of(symbol), row) for symbol, row in facts["elements_orbital_map"].items()}
        layout = Basis(atoms).layout(structure.numbers)
    except DAMAGE as error:
        raise FormatError(f"{path}: elements_orbital_map does not fit POSCAR: {error}") from error
    for key, found in (("atoms_quantity", layout.n_atoms), ("orbits_quantity", layout.total)):
        if facts.get(key, found) != found:
            raise FormatError(f"{path}: {key} is {facts[key]}, but POSCAR and elements_orbital_map give {found}")
    return FolderSummary(structure, Basis(atoms), bool(facts["spinful"]), facts)


def _parse_shells(number: int, row: Iterable) -> AtomicBasis:
    return AtomicBasis(number, tuple(int(str(l)) for l in row))


def _check_reciprocal(folder: Path, cell: np.ndarray):
    """rlat.dat, where present, shows whether the vectors are columns, as the format demands."""
    if not (folder / "rlat.dat").exists():
        return
    reciprocal = _read_table(folder / "rlat.dat")
    if reciprocal.shape != (3, 3) or not np.abs(cell @ reciprocal - 2 * np.pi * np.eye(3)).max() < 1e-3:
        raise FormatError(
            f"{folder}: lat.dat and rlat.dat do not belong together; both hold vectors as columns: is one of them transposed?"
        )


def _read_info(folder: Path, required: tuple[str, ...]) -> dict[str, Any]:
    path = folder / "info.json"
    text = _read_text(path)
    try:
        facts = json.loads(text)
    except DAMAGE as error:
        raise FormatError(f"{path} is not readable: {error}") from error
    if not isinstance(facts, dict):
        raise FormatError(f"{path}: expected a JSON object, found {type(facts).__name__}")
    missing = [key for key in required if key not in facts]
    if missing:
        raise FormatError(f"{path}: the key(s) {missing} are missing; it holds {sorted(facts)}")
    return facts


def _read_numbers(path: Path) -> np.ndarray:
    """(N,) atomic numbers, one a line."""
    table = _read_table(path).ravel()
    wrong = table[(table != table.round()) | (table < 1) | (table > LAST_ELEMENT)]
    if len(wrong):
        raise FormatError(f"{path}: expected atomic numbers, found {wrong[0]:g}")
    return table.astype(int)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise FormatError(f"{path} is missing; the folder holds {sorted(p.name for p in path.parent.glob('*'))}")
    return path.read_text(errors="replace")  # a strange character is an error where numbers are expected


def _read_table(path: Path) -> np.ndarray:
    lines = [line.split() for line in _read_text(path).splitlines() if line.strip()]
    try:
        table = np.array([[float(x) for x in line] for line in lines])
    except ValueError as error:
        raise FormatError(f"{path}: expected a table of numbers: {error}") from error
    if not np.isfinite(table).all():
        raise FormatError(f"{path}: expected a table of numbers: some are not finite")
    return table
