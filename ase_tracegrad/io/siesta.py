"""SIESTA's basis orbitals, from the .ion and .ion.xml files that every SIESTA run leaves behind.

The files hold R(r) / r^l in Bohr^(-3/2-l) on an even grid of r (Bohr) that ends at the orbital's cut-off.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy.interpolate import CubicSpline

from ..basis import AtomicBasis, Shell, TabulatedRadial
from ..damage import DAMAGE
from ..units import BOHR
from .sample import FormatError

REFINEMENT = 2  # points per point of the file, so that the spline of R follows SIESTA's spline of R / r^l


def read_ion(path) -> AtomicBasis:
    """The basis orbitals of one species, in the file's order; the valence charge is the file's."""
    path = Path(path)
    text = path.read_text(errors="replace")
    try:
        number, valence, orbitals = _parse_xml(text) if text.lstrip().startswith("<ion") else _parse_text(text)
        shells = tuple(Shell(l, _tabulate(l, table)) for l, table in orbitals)
        return AtomicBasis(number, tuple(shell.l for shell in shells), shells, valence)
    except (*DAMAGE, ElementTree.ParseError) as error:
        raise FormatError(f"{path}: not a readable .ion or .ion.xml file of SIESTA: {type(error).__name__}: {error}") from error


def _tabulate(l: int, table: np.ndarray) -> TabulatedRadial:
    r, divided = table.T
    fine = np.linspace(0.0, r[-1], REFINEMENT * (len(r) - 1) + 1)
    values = CubicSpline(r, divided)(fine) * fine**l
    return TabulatedRadial(l, fine * BOHR, values / BOHR**1.5)


def _parse_xml(text: str) -> tuple[int, float, list[tuple[int, np.ndarray]]]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can multiply to any size
        raise ValueError("a document type, which SIESTA does not write")
    root = ElementTree.fromstring(text)
    orbitals = []
    for orbital in root.find("paos").findall("orbital"):  # type: ignore[union-attr]
        numbers = [float(x) for x in orbital.find("radfunc").find("data").text.split()]  # type: ignore[union-attr]
        orbitals.append((int(orbital.attrib["l"]), np.array(numbers).reshape(-1, 2)))
    return int(root.find("z").text), float(root.find("valence").text), orbitals  # type: ignore[union-attr, arg-type]


def _parse_text(text: str) -> tuple[int, float, list[tuple[int, np.ndarray]]]:
    lines = text.split("</preamble>")[1].splitlines()[1:]
    number, valence = int(lines[2].split()[0]), float(lines[3].split()[0])
    count = int(lines[6].split()[1])
    start = next(i for i, line in enumerate(lines) if re.match(r"#\s*PAOs", line)) + 1
    orbitals = []
    for _ in range(count):
        l, n_points = int(lines[start].split()[0]), int(lines[start + 1].split()[0])
        rows = lines[start + 2 : start + 2 + n_points]
        orbitals.append((l, np.array([[float(x) for x in row.split()] for row in rows])))
        start += 2 + n_points
    return number, valence, orbitals
