"""VASP's POSCAR, version 5, as DeepH folders use it: no ASE, and full precision both ways."""

from pathlib import Path

import numpy as np

from ..damage import DAMAGE
from ..replace_file import replace_text
from ..structure import Structure
from .sample import FormatError


def read_poscar(path) -> Structure:
    """The structure of a POSCAR file, periodic in all directions; FormatError says what is wrong with it."""
    from ase.data import atomic_numbers

    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path} is missing")
    lines = [line.split() for line in path.read_text(errors="replace").splitlines()]
    try:
        scale = float(lines[1][0])
        cell = np.array([[float(x) for x in line[:3]] for line in lines[2:5]])
        if scale < 0:  # then it is the volume of the cell
            scale = (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
        counts = [int(x) for x in lines[6]]
        if min(counts) < 1:
            raise ValueError(f"found {counts} as the numbers of atoms")
        if sum(counts) > len(lines):
            raise ValueError(f"{sum(counts)} atoms are announced, the file has {len(lines)} lines")
        numbers = [atomic_numbers[s] for s, count in zip(lines[5], counts, strict=True) for _ in range(count)]
        start = 8 if lines[7][0][0] in "sS" else 7  # 'Selective dynamics' is one more line
        cartesian = lines[start][0][0] in "cCkK"
        rows = np.array([[float(x) for x in line[:3]] for line in lines[start + 1 : start + 1 + len(numbers)]])
        positions = rows * scale if cartesian else rows @ (cell * scale)
        return Structure(np.array(numbers), positions, cell * scale, np.ones(3, dtype=bool))
    except DAMAGE as error:
        raise FormatError(
            f"{path}: not a POSCAR of version 5 (comment, scale, cell, symbols, counts, positions): {error}"
        ) from error


def write_poscar(path, structure: Structure, order: np.ndarray):
    """Write the atoms in the given order, which must put those of one element together."""
    from ase.data import chemical_symbols

    numbers = structure.numbers[order]
    elements = list(dict.fromkeys(numbers.tolist()))
    row = "  {:.17g}  {:.17g}  {:.17g}".format
    lines = [
        "written by ase_tracegrad",
        "1.0",
        *(row(*vector) for vector in structure.cell),
        " ".join(chemical_symbols[z] for z in elements),
        " ".join(str(np.count_nonzero(numbers == z)) for z in elements),
        "Cartesian",
        *(row(*position) for position in structure.positions[order]),
    ]
    replace_text(path, "\n".join(lines) + "\n")
