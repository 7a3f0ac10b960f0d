"""CP2K's files: Gaussian basis sets (BASIS_MOLOPT), real-space matrices (CSR text) and bands (.bs)."""

import re
from pathlib import Path

import numpy as np

from ..basis import AtomicBasis, GaussianRadial, Shell
from ..damage import DAMAGE
from ..units import BOHR, HARTREE
from .sample import FormatError


def read_atomic_basis(path, symbol: str, name: str) -> AtomicBasis:
    """One element's entry of a CP2K basis-set file.

    The valence charge is taken from the suffix '-qN' of the name, where it has one.
    Contraction coefficients refer to normalised primitives (CP2K manual, BASIS_SET).
    """
    from ase.data import atomic_numbers

    lines = [line.split("#")[0].split() for line in Path(path).read_text(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    start = next((i for i, line in enumerate(lines) if line[0] == symbol and name in line[1:]), None)
    if start is None:
        raise FormatError(f"{path}: no basis set {name!r} for {symbol}")
    try:
        shells, row = [], start + 2
        for _ in range(int(lines[start + 1][0])):
            header = [int(x) for x in lines[row]]
            l_min, l_max, n_exponents, counts = header[1], header[2], header[3], header[4:]
            table = np.array([[float(x) for x in line] for line in lines[row + 1 : row + 1 + n_exponents]])
            row += 1 + n_exponents
            column = 1
            for l, count in zip(range(l_min, l_max + 1), counts, strict=True):
                for _ in range(count):
                    exponents = table[:, 0] / BOHR**2
                    shells.append(Shell(l, GaussianRadial(l, exponents, table[:, column] * exponents ** ((2 * l + 3) / 4))))
                    column += 1
        shells.sort(key=lambda shell: shell.l)
        valence = re.search(r"-q(\d+)$", name)
        return AtomicBasis(
            atomic_numbers[symbol], tuple(s.l for s in shells), tuple(shells), float(valence.group(1)) if valence else None
        )
    except DAMAGE as error:
        raise FormatError(f"{path}: the entry {symbol} {name} is damaged: {error}") from error


def read_real_space_matrix(directory, output: str, tag: str, n_orbitals: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices written by KS_CSR_WRITE (tag 'KS') or S_CSR_WRITE (tag 'S').

    output: the text of CP2K's main output, which lists the cells.
    Returns cells (C, 3) int and matrices (C, n, n) in CP2K's unit (Hartree for KS).
    """
    lines = output.splitlines()
    header = next((i for i, line in enumerate(lines) if re.search(rf"\b{tag} CSR write\|\s+\d+ periodic", line)), None)
    if header is None:
        raise FormatError(f"{directory}: CP2K's output lists no real-space {tag} matrix")
    count = int(re.search(r"\|\s+(\d+) periodic", lines[header]).group(1))  # type: ignore[union-attr]
    try:
        table = np.array([[int(x) for x in line.split()] for line in lines[header + 2 : header + 2 + count]])
        if table.shape != (count, 4):
            raise ValueError(f"{count} rows of a number and three cell indices are announced, found {table.shape}")
    except DAMAGE as error:
        raise FormatError(f"{directory}: the list of cells of the {tag} matrix in CP2K's output is damaged: {error}") from error
    matrices = np.zeros((count, n_orbitals, n_orbitals))
    for matrix, number in zip(matrices, table[:, 0], strict=True):
        path = next(Path(directory).glob(f"*-{tag}_SPIN_1_R_{number}-1_0.csr"), None)
        if path is None:
            raise FormatError(f"{directory}: the {tag} matrix of image {number} was not written")
        if path.stat().st_size:
            rows, columns, values = _read_entries(path, n_orbitals)
            matrix[rows, columns] = values
    return table[:, 1:], matrices


def _read_entries(path: Path, n_orbitals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns, from 0, and elements of a sparse matrix in text."""
    try:
        table = np.loadtxt(path, ndmin=2, encoding="latin-1")
        if table.shape[1] != 3 or not np.isfinite(table).all():
            raise ValueError(f"found a table of shape {table.shape} or numbers that are not finite")
        places = table[:, :2].astype(int) - 1
        if (places + 1 != table[:, :2]).any() or places.min(initial=0) < 0 or places.max(initial=0) >= n_orbitals:
            raise ValueError(f"rows and columns must be whole numbers from 1 to {n_orbitals}")
    except DAMAGE as error:
        raise FormatError(f"{path}: expected lines of row, column and element: {error}") from error
    return places[:, 0], places[:, 1], table[:, 2]


def read_bands(path) -> tuple[np.ndarray, np.ndarray]:
    """CP2K's band-structure file: kpts (K, 3) fractional and energies (K, n) eV, in the code's own Hartree."""
    kpts: list[list[float]] = []
    energies: list[list[float]] = []
    try:
        for line in Path(path).read_text(errors="replace").splitlines():
            if "Point" in line and "Spin" in line:
                kpts.append([float(x) for x in line.split(":")[1].split()[:3]])
                energies.append([])
            elif line.strip() and not line.startswith("#"):
                energies[-1].append(float(line.split()[1]))
    except DAMAGE as error:
        raise FormatError(f"{path}: expected k-points, each followed by its bands: {error}") from error
    if not kpts or len({len(e) for e in energies}) != 1 or {len(k) for k in kpts} != {3}:
        raise FormatError(f"{path}: expected the same number of bands at every k-point")
    if not (np.isfinite(kpts).all() and np.isfinite(energies).all()):
        raise FormatError(f"{path}: some k-points or energies are not finite")
    return np.array(kpts), np.array(energies) * (HARTREE / CP2K_HARTREE)


# CP2K 2023.1 converts its printed bands with CODATA 2006.
CP2K_HARTREE = 27.21138386
