"""OpenMX's pseudo-atomic orbitals (.pao files).

The matrix elements of OpenMX follow from three facts that its manual does not tell: the orbitals are used as
they stand, without normalisation; between the points of the logarithmic grid they are interpolated by a
cubic Hermite polynomial in r whose slopes come from the parabola through three points; they end at
radial.cutoff.pao. Its length unit is 1 Bohr = 0.529177249 Angstrom. Established against the overlaps of
MoTe2 (OpenMX 3.9) and of the tests: on-site elements agree to 1e-7, with a spline only to 3e-5.
"""

import re
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from ..basis import AtomicBasis, Shell, TabulatedRadial
from .sample import FormatError

OPENMX_BOHR = 0.529177249  # Angstrom
STEP = 0.01  # Bohr, of the table that keeps the interpolated function
LETTERS = "spdfghi"


def read_pao(path, shells: str | None = None) -> AtomicBasis:
    """The first radial functions of each l in a .pao file.

    shells: how many, as in OpenMX's input: 's3p2d2'. The file holds up to 15 of each l and does not say which
    are meant, so a missing ``shells`` is an error. The valence charge is the file's valence.electron.
    """
    path = Path(path)
    text = path.read_text()
    number, valence, cutoff = (_read_value(path, text, key) for key in ("AtomSpecies", "valence.electron", "radial.cutoff.pao"))
    parsed = re.fullmatch(r"(?:[a-z][1-9]\d?)+", shells or "")
    counts = {LETTERS.find(letter): int(count) for letter, count in re.findall(r"([a-z])(\d+)", shells or "")}
    if parsed is None or -1 in counts:
        raise FormatError(f"{path}: say which shells are meant, such as shells='s3p2d2'; found {shells!r}")
    found = []
    for l in sorted(counts):
        radii, values = _read_orbitals(path, text, l)
        if values.shape[1] < counts[l]:
            raise FormatError(f"{path}: {counts[l]} {LETTERS[l]} orbitals are asked for, the file holds {values.shape[1]}")
        for column in values.T[: counts[l]]:
            grid = np.linspace(0.0, cutoff, round(cutoff / STEP) + 1)
            table = interpolate(radii, column, grid)
            found.append(Shell(l, TabulatedRadial(l, grid * OPENMX_BOHR, table / OPENMX_BOHR**1.5, normalise=False)))
    return AtomicBasis(int(number), tuple(shell.l for shell in found), tuple(found), valence)


def interpolate(radii: np.ndarray, values: np.ndarray, r: np.ndarray) -> np.ndarray:
    """OpenMX's interpolation of a tabulated function, constant below the first radius."""
    steps = np.diff(radii)
    rises = np.diff(values) / steps
    slopes = np.concatenate([rises[:1], (rises[1:] * steps[:-1] + rises[:-1] * steps[1:]) / (steps[:-1] + steps[1:]), rises[-1:]])
    return CubicHermiteSpline(radii, values, slopes)(np.clip(r, radii[0], radii[-1]))


def _read_value(path: Path, text: str, key: str) -> float:
    found = re.search(rf"^\s*{re.escape(key)}\s+([-+.\deE]+)", text, re.MULTILINE)
    if found is None:
        raise FormatError(f"{path}: no {key}; expected a .pao file of OpenMX's data base")
    return float(found.group(1))


def _read_orbitals(path: Path, text: str, l: int) -> tuple[np.ndarray, np.ndarray]:
    """Radii (n,) in Bohr and functions (n, multiplicity) in Bohr^(-3/2) of one l."""
    tag = rf"pseudo\.atomic\.orbitals\.L={l}"
    found = re.search(rf"<{tag}\s*\n(.*?){tag}>", text, re.DOTALL)
    if found is None:
        raise FormatError(f"{path}: the file holds no {LETTERS[l]} orbitals")
    try:
        table = np.array([[float(x) for x in line.split()] for line in found.group(1).splitlines() if line.strip()])
        if table.ndim != 2 or table.shape[1] < 3 or not (np.diff(table[:, 1]) > 0).all():
            raise ValueError("expected rows of ln r, r and the functions, with growing r")
    except ValueError as error:
        raise FormatError(f"{path}: the {LETTERS[l]} orbitals are damaged: {error}") from error
    return table[:, 1], table[:, 2:]
