"""ABACUS's numerical orbitals (.orb files).

The file holds R(r) in Bohr^(-3/2) on an even grid of r from 0 (Bohr) to the cut-off. ABACUS normalises each function
after reading (source_basis/module_ao/ORB_read.cpp), and the orbitals of an atom go by l, then by zeta, then by m in the
order and with the signs of ``conventions.ABACUS``. The file does not tell the valence charge.
"""

import re
from pathlib import Path

import numpy as np

from ..basis import AtomicBasis, Shell, TabulatedRadial
from ..damage import DAMAGE
from ..symbols import number_of
from ..units import BOHR
from .sample import FormatError

LETTERS = "SPDFGHIKL"


def read_orb(path) -> AtomicBasis:
    """All orbitals of a .orb file, by l and zeta; FormatError names what is wrong with it."""
    path = Path(path)
    head, _, body = path.read_text(errors="replace").partition("SUMMARY")
    try:
        number = number_of(_read_word(head, "Element"))
        lmax = int(_read_word(head, "Lmax"))
        counts = [int(_read_word(head, f"Number of {LETTERS[l]}orbital-->")) for l in range(lmax + 1)]
        n_points, step = int(_read_word(body, "Mesh")), float(_read_word(body, "dr"))
        tables = _read_functions(body, n_points)
        # The numbers first: a damaged head may announce more functions than can be listed.
        same = counts == [sum(l == of for of, _ in tables) for l in range(lmax + 1)]
        if not same or tables.keys() != {(l, zeta) for l, count in enumerate(counts) for zeta in range(count)}:
            raise ValueError(f"the head announces the functions {counts} by l, the file holds {sorted(tables)}")
        radii = step * np.arange(n_points) * BOHR
        shells = tuple(Shell(l, TabulatedRadial(l, radii, tables[l, zeta] / BOHR**1.5)) for l, zeta in sorted(tables))
        return AtomicBasis(number, tuple(shell.l for shell in shells), shells)
    except DAMAGE as error:
        raise FormatError(f"{path}: not a readable .orb file of ABACUS: {error}") from error


def _read_word(text: str, key: str) -> str:
    found = re.search(rf"^\s*{re.escape(key)}\s+(\S+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no line '{key} ...'")
    return found.group(1)


def _read_functions(body: str, n_points: int) -> dict[tuple[int, int], np.ndarray]:
    """The values of each function by (l, zeta)."""
    tables = {}
    for part in re.split(r"Type\s+L\s+N\s", body)[1:]:
        words = part.split()
        l, zeta = int(words[1]), int(words[2])
        values = np.array([float(word.replace("D", "E")) for word in words[3:]])
        if len(values) != n_points:
            raise ValueError(f"function l = {l}, zeta = {zeta} has {len(values)} values, Mesh announces {n_points}")
        tables[l, zeta] = values
    return tables
