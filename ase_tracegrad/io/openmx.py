"""OpenMX's pseudo-atomic orbitals (.pao files).

The matrix elements of OpenMX follow from these facts, which its manual does not tell:
- the orbitals are used as they stand, without normalisation (molybdenum's norms are off by a per cent);
- between the points of the logarithmic grid they are interpolated by a cubic Hermite polynomial in r whose
  slopes come from the parabola through three points, and so they pass radial.cutoff.pao, by a grid point;
- pairs nevertheless end at the sum of the cut-offs;
- 1 Bohr = 0.529177249 Angstrom.
With them S agrees with OpenMX to 3e-7; a normalised spline that ends at the cut-off errs by 1e-2 on-site, an
unnormalised one by 3e-5, and ending at the cut-off by 2e-5 off-site.
"""

import re
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from ..basis import AtomicBasis, Shell, TabulatedRadial
from ..damage import DAMAGE
from .basis_files import LETTERS, parse_shells
from .sample import FormatError

OPENMX_BOHR = 0.529177249  # Angstrom
STEP = 0.01  # Bohr, of the table that keeps the interpolated function
LARGEST_CUTOFF = 100.0  # Bohr; the database's longest is 15
LARGEST_VALUE = 1e30  # of anything in the tables of orbitals; damaged files hold numbers whose differences overflow
TAIL = 0.5  # Bohr, how far beyond the cut-off OpenMX integrates


def read_pao(path, shells: str | None = None) -> AtomicBasis:
    """The first radial functions of each l in a .pao file.

    shells: how many, as in OpenMX's input: 's3p2d2'. The file holds up to 15 of each l and does not say which
    are meant, so a missing ``shells`` is an error. The valence charge is the file's valence.electron.
    """
    path = Path(path)
    momenta = parse_shells(path, shells)
    text = path.read_text(errors="replace")
    try:
        number = int(_read_word(text, "AtomSpecies"))
        valence, cutoff = (float(_read_word(text, key)) for key in ("valence.electron", "radial.cutoff.pao"))
        found = []
        for l in sorted(set(momenta)):
            radii, values = _read_orbitals(text, l)
            if values.shape[1] < momenta.count(l):
                raise ValueError(f"{momenta.count(l)} {LETTERS[l]} orbitals are asked for, the file holds {values.shape[1]}")
            found += [Shell(l, _tabulate(l, radii, column, cutoff)) for column in values.T[: momenta.count(l)]]
        return AtomicBasis(number, tuple(shell.l for shell in found), tuple(found), valence)
    except DAMAGE as error:
        raise FormatError(f"{path}: {error}") from error


def _tabulate(l: int, radii: np.ndarray, values: np.ndarray, cutoff: float) -> TabulatedRadial:
    end = min(radii[-1], LARGEST_CUTOFF)
    if not 0 < cutoff <= end:
        raise ValueError(f"radial.cutoff.pao is {cutoff} Bohr, the grid of the {LETTERS[l]} orbitals ends at {end:.3f}")
    grid = np.arange(0.0, cutoff + TAIL, STEP)
    table = interpolate(radii, values, grid) / OPENMX_BOHR**1.5
    return TabulatedRadial(l, grid * OPENMX_BOHR, table, normalise=False, cutoff=cutoff * OPENMX_BOHR)


def interpolate(radii: np.ndarray, values: np.ndarray, r: np.ndarray) -> np.ndarray:
    """OpenMX's interpolation of a tabulated function, constant below the first radius."""
    steps = np.diff(radii)
    rises = np.diff(values) / steps
    slopes = np.concatenate([rises[:1], (rises[1:] * steps[:-1] + rises[:-1] * steps[1:]) / (steps[:-1] + steps[1:]), rises[-1:]])
    return CubicHermiteSpline(radii, values, slopes)(np.clip(r, radii[0], radii[-1]))


def _read_word(text: str, key: str) -> str:
    found = re.search(rf"^\s*{re.escape(key)}\s+(\S+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {key}; expected a .pao file of OpenMX's data base")
    return found.group(1)


def _read_orbitals(text: str, l: int) -> tuple[np.ndarray, np.ndarray]:
    """Radii (n,) in Bohr and functions (n, multiplicity) in Bohr^(-3/2) of one l."""
    tag = rf"pseudo\.atomic\.orbitals\.L={l}"
    found = re.search(rf"<{tag}\s*\n(.*?){tag}>", text, re.DOTALL)
    if found is None:
        raise ValueError(f"the file holds no {LETTERS[l]} orbitals")
    try:
        table = np.array([[float(x) for x in line.split()] for line in found.group(1).splitlines() if line.strip()])
        if table.ndim != 2 or table.shape[1] < 3 or not (np.diff(table[:, 1]) > 0).all():
            raise ValueError("expected rows of ln r, r and the functions, with growing r")
        if not (np.abs(table) < LARGEST_VALUE).all():
            raise ValueError("some numbers are not finite, or too large for an orbital")
    except ValueError as error:
        raise ValueError(f"the {LETTERS[l]} orbitals are damaged: {error}") from error
    return table[:, 1], table[:, 2:]
