"""Atoms, cell and bonds as the plain data that a report draws."""

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import neighbor_list

BOND = 1.15  # atoms nearer than this times the sum of their covalent radii are drawn with a bond


def describe_atoms(atoms, repeated) -> dict:
    """Symbols, positions (Angstrom), cell, bonds [i, vector to the middle of the bond] and the looks of each element.

    repeated (3,) bool: axes along which the picture may repeat the cell; not those across vacuum.
    """
    numbers = sorted(set(atoms.numbers.tolist()))
    symbols = dict(zip(atoms.numbers.tolist(), atoms.get_chemical_symbols(), strict=True))
    cell = np.asarray(atoms.cell)
    first, vectors = neighbor_list("iD", atoms, (BOND * covalent_radii[atoms.numbers]).tolist())
    return {
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions,
        "cell": cell if cell.any(axis=1).all() else None,
        "pbc": atoms.pbc,
        "repeated": np.asarray(repeated, dtype=bool) & atoms.pbc,
        "bonds": [[int(i), *(0.5 * vector)] for i, vector in zip(first, vectors, strict=True)],
        "elements": {symbols[z]: {"color": _hex(jmol_colors[z]), "radius": covalent_radii[z]} for z in numbers},
    }


def _hex(color) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)
