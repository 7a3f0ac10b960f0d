"""QH9: Hamiltonians of molecules in SQLite databases or their LMDB form, read one molecule at a time.

Definition: divelab/AIRS, OpenDFT/QHBench/QH9 (H. Yu et al., arXiv 2306.09549). B3LYP with VWN5 (QH9Dynamic_100k, of PySCF 2.3.0:
VWN-RPA), def2-SVP, Hartree, PySCF's order of orbitals. Blobs: Z int32, pos float64, Ham float64.
- QH9Stable.db: table data(id, N, Z, pos, Ham), positions in Angstrom, ids from 0 without gaps.
- QH9Dynamic_{100k,300k}.db: data(id, geo_id, N, Z, pos, ekin, epot, etot, time, Ham, converged), positions in Bohr, 100
  geometries of each molecule in consecutive rows; id is a blob of one int64.
S is not stored: it follows from the basis.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from ..basis import Basis, OrbitalLayout
from ..blocks import BlockMatrix
from ..conventions import PYSCF
from ..overlap import compute_overlap
from ..structure import Structure
from ..units import HARTREE
from .def2_svp import FUNCTIONAL, PYSCF_BOHR, def2_svp_basis
from .qh9_rows import open_rows
from .qh9_splits import assign_published_split
from .sample import FormatError, Sample

LARGEST_ASYMMETRY = 1e-6  # Hartree; PySCF's Fock matrices are symmetric to 1e-13
LARGEST_MOLECULE = 10**4  # atoms; QH9's have up to 29
RPA_VERSION = "QH9Dynamic_100k"
RPA_FUNCTIONAL = "b3lypg"


@dataclass(frozen=True, eq=False)
class QH9Record:
    """A row as it is stored: numbers (N,), positions (N, 3) Angstrom, fock (n, n) Hartree in PySCF's order, and other facts."""

    numbers: np.ndarray
    positions: np.ndarray
    fock: np.ndarray
    facts: dict


def parse_record(place: str, form: str, row: dict) -> QH9Record:
    """Check and decode a row. place: for messages; form: stable or dynamic; row: id, N, Z, pos, Ham as in the files.

    FormatError if a blob has another size than N and Z ask for, for other elements, and for matrices that are not finite
    or not symmetric.
    """
    known = def2_svp_basis()
    n = row["N"]
    if not isinstance(n, int) or not 1 <= n <= LARGEST_MOLECULE:
        raise FormatError(f"{place}: N must be the number of atoms, found {n!r}")
    numbers = _decode(place, "Z", row["Z"], np.int32, (n,)).astype(int)
    unknown = sorted(set(numbers.tolist()) - known.atoms.keys())
    if unknown:
        raise FormatError(f"{place}: atomic number(s) {unknown}; QH9 holds molecules of {sorted(known.atoms)} (H, C, N, O, F)")
    positions = _decode(place, "pos", row["pos"], np.float64, (n, 3))
    if form == "dynamic":
        positions = positions * PYSCF_BOHR
    size = known.layout(numbers).total
    fock = _decode(place, "Ham", row["Ham"], np.float64, (size, size))
    if not (np.isfinite(positions).all() and (np.abs(fock) < np.finfo(float).max / HARTREE).all()):
        raise FormatError(f"{place}: positions or matrix elements are not finite")
    asymmetry = np.abs(fock - fock.T).max()
    if asymmetry > LARGEST_ASYMMETRY:
        raise FormatError(
            f"{place}: Ham differs from its transpose by {asymmetry:.1e} Hartree, expected at most {LARGEST_ASYMMETRY}"
        )
    facts = {"id": _parse_id(place, row["id"])}
    facts |= {key: row[key] for key in ("geo_id", "ekin", "epot", "etot", "time", "converged") if key in row}
    strange = [key for key, value in facts.items() if not isinstance(value, int | float | None)]
    if strange:
        raise FormatError(f"{place}: {', '.join(strange)} must be numbers, found {type(facts[strange[0]]).__name__}")
    return QH9Record(numbers, positions, fock, facts)


def _parse_id(place: str, number) -> int:
    """The id of a molecule: a whole number, or a blob of one int64."""
    if isinstance(number, bytes):
        return int(_decode(place, "id", number, np.int64, (1,))[0])
    if not isinstance(number, int):
        raise FormatError(f"{place}: id must be a whole number, found {number!r}")
    return number


def _decode(place: str, name: str, blob, dtype, shape: tuple[int, ...]) -> np.ndarray:
    expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not isinstance(blob, bytes):
        raise FormatError(f"{place}: {name} must be a blob of {expected} bytes, found {type(blob).__name__}")
    if len(blob) != expected:
        raise FormatError(
            f"{place}: {name} must hold {expected} bytes, {np.dtype(dtype).name} of shape {shape}, found {len(blob)}: "
            "the row is damaged, or was written with other types or another basis"
        )
    return np.frombuffer(blob, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def make_sample(record: QH9Record, basis: Basis) -> Sample:
    """The record as a Sample: one cell, not periodic, H on all pairs, S from the basis."""
    n = len(record.numbers)
    layout = basis.layout(record.numbers)
    info = record.facts | {"code": "PySCF", "xc": basis.xc, "charge": 0, "n_electrons": float(record.numbers.sum())}
    hamiltonian = molecule_matrix(layout, HARTREE * record.fock)
    try:
        structure = Structure(record.numbers, record.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
        overlap = compute_overlap(structure, basis)
    except ValueError as error:  # atoms that lie on each other, or very far away
        raise FormatError(f"molecule {info['id']} of {n} atoms: {error}") from error
    return Sample(structure, basis, hamiltonian, overlap, info)


def molecule_matrix(layout: OrbitalLayout, matrix: np.ndarray) -> BlockMatrix:
    """A dense matrix (n, n) in PySCF's order as blocks of all pairs of atoms, in our order."""
    gather = pyscf_gather(layout)
    ours, edges = matrix[np.ix_(gather, gather)], layout.offsets
    pairs = [(i, j) for i in range(layout.n_atoms) for j in range(layout.n_atoms)]
    values = [ours[edges[i] : edges[i + 1], edges[j] : edges[j + 1]].ravel() for i, j in pairs]
    return BlockMatrix(layout, np.array(pairs), np.zeros((len(pairs), 3), dtype=int), np.concatenate(values))


def pyscf_matrix(matrix: BlockMatrix) -> np.ndarray:
    """The dense matrix (n, n) in PySCF's order of a molecule's blocks."""
    ours = np.zeros((matrix.layout.total,) * 2)
    edges = matrix.layout.offsets
    for (i, j, shift), block in matrix.items():
        if any(shift):
            raise ValueError(f"a molecule has one cell; this matrix holds a block with R = {shift}")
        ours[edges[i] : edges[i + 1], edges[j] : edges[j + 1]] = block
    back = np.argsort(pyscf_gather(matrix.layout))
    return ours[np.ix_(back, back)]


def pyscf_gather(layout: OrbitalLayout) -> np.ndarray:
    """(n,) where each of our orbitals stands in PySCF's order."""
    atoms = zip(layout.offsets, layout.shells, strict=False)
    return np.concatenate([start + PYSCF.to_ours(shells)[0] for start, shells in atoms])


class QH9Reader:
    """Molecules of a QH9 database by name, read one at a time; the name is the row, counted from 0 with at least 6 digits.

    path: the SQLite file, or the LMDB folder made from it. split: stable-id, stable-ood, dynamic-geo or dynamic-mol, which puts
    train, validation or test into each info['split']. xc: what the file was computed with; by default as published.
    Raises FileNotFoundError, FormatError, ValueError for a split that does not fit the file.
    """

    def __init__(self, path, *, split: str | None = None, xc: str | None = None):
        self.path = Path(path)
        self.basis = def2_svp_basis(xc or published_functional(self.path))
        self._rows = open_rows(self.path)
        try:
            self._splits = assign_published_split(split, self.form, len(self), self._rows.sizes) if split else None
        except BaseException:
            self.close()
            raise

    @property
    def form(self) -> str:
        """stable (Angstrom in the file) or dynamic (Bohr), as the columns say."""
        return self._rows.form

    @property
    def names(self) -> list[str]:
        """Names of the molecules, in the order of the rows."""
        return [row_name(row) for row in range(len(self))]

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, row: int) -> QH9Record:
        """A row as it is stored, counted from 0."""
        return parse_record(f"{self.path}: row {row}", self.form, self._rows[row])

    def __getitem__(self, name: str) -> Sample:
        row = self._row(name)
        sample = make_sample(self.record(row), self.basis)
        if self._splits is not None:
            sample.info["split"] = str(self._splits[row])
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[name] for name in self.names)

    def split(self, name: str) -> str | None:
        """The split of a molecule, if the file was opened with one; '' for rows that no split takes."""
        return None if self._splits is None else str(self._splits[self._row(name)])

    def _row(self, name: str) -> int:
        if not (name.isascii() and name.isdigit() and row_name(int(name)) == name and int(name) < len(self)):
            raise KeyError(f"{self.path} holds no molecule {name!r}; its names are {row_name(0)} to {row_name(len(self) - 1)}")
        return int(name)

    def close(self):
        """Close the file."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        self.close()


def published_functional(path: Path) -> str:
    """The functional a published file was computed with, by the file's name."""
    return RPA_FUNCTIONAL if any(part.startswith(RPA_VERSION) for part in path.parts[-3:]) else FUNCTIONAL


def row_name(row: int) -> str:
    """The name of a row: at least 6 digits, so that names sort as rows do."""
    return f"{row:06d}"
