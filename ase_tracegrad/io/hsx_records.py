"""The records of an HSX file of SIESTA 5, checked before sisl reads them.

sisl's compiled code takes the numbers in a file as they are: damaged ones let it run without end or ask for any memory. Layout
(m_io_hsx of SIESTA 5; Fortran records with their length before and after): version; precision; atoms, orbitals, spins, species,
cells along each vector; cell, Fermi level, electrons, temperature; offsets of the cells, positions, species and last orbital
of each atom; (label, valence, orbitals) of all species; (n, l, zeta) of each; in version 2 the k-grid; then of the sparse
matrices the entries in each row, their columns row by row, H row by row for each spin, S row by row.
"""

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np

HEAD = 6  # records before those of the species
SPINS = (1, 2, 4, 8)
SPECIES = 32  # bytes: label 20, valence 8, orbitals 4


def check_records(path: Path):
    """ValueError with the place where the file is not what SIESTA writes."""
    data = path.read_bytes()
    records = _split(data)
    _expect(len(records) > HEAD and len(records[2]) == 28, "a head of other records")
    n_atoms, n_orbitals, n_spin, n_species, *cells = np.frombuffer(records[2], "<i4").tolist()
    _expect(min(n_atoms, n_orbitals, n_species, *cells) > 0 and n_spin in SPINS, f"sizes {records[2].hex()}")
    n_cells = cells[0] * cells[1] * cells[2]
    _expect(
        [len(r) for r in records[3:HEAD]] == [96, 12 * n_cells + 32 * n_atoms, SPECIES * n_species], "structure of another size"
    )
    _check_atoms(records, n_atoms, n_orbitals, n_species, cells)
    rest = records[HEAD + n_species :]
    rest = rest[len(rest) - 1 - n_orbitals * (2 + n_spin) :]
    spare = len(records) - HEAD - n_species - len(rest)
    _expect(spare in (0, 1) and len(rest) == 1 + n_orbitals * (2 + n_spin), f"{len(records)} records for {n_orbitals} orbitals")
    _expect(len(rest[0]) == 4 * n_orbitals, "rows of another number")
    counts = np.frombuffer(rest[0], "<i4").astype(int)
    whole, real = 1 + n_orbitals, 8 if any(records[1]) else 4  # double or single precision, as the user chose
    for size, start, end in ((4, 1, whole), (real, whole, len(rest))):
        found = np.array([len(r) for r in rest[start:end]])
        _expect((found == size * np.tile(counts, (end - start) // n_orbitals)).all(), "rows of another length than announced")
    columns = np.frombuffer(b"".join(rest[1 : 1 + n_orbitals]), "<i4")
    _expect(columns.min(initial=1) > 0 and columns.max(initial=1) <= n_orbitals * n_cells, "columns outside the matrix")


def _split(data: bytes) -> list[bytes]:
    records, place = [], 0
    while place < len(data):
        _expect(place + 8 <= len(data), "half a record at the end")
        (length,) = struct.unpack_from("<i", data, place)
        _expect(0 <= length <= len(data) - place - 8, f"a record of {length} bytes at byte {place}")
        _expect(data[place : place + 4] == data[place + 4 + length : place + 8 + length], f"a torn record at byte {place}")
        records.append(data[place + 4 : place + 4 + length])
        place += 8 + length
    return records


def _check_atoms(records: list[bytes], n_atoms: int, n_orbitals: int, n_species: int, cells: list[int]):
    """Offsets of cells, species and orbitals of atoms."""
    n_cells = cells[0] * cells[1] * cells[2]
    offsets = np.frombuffer(records[4], "<i4", 3 * n_cells).reshape(-1, 3)
    _expect((np.abs(offsets.astype(int)) <= np.array(cells) // 2).all(), "cells outside the supercell")
    species, last = np.frombuffer(records[4], "<i4", 2 * n_atoms, 12 * n_cells + 24 * n_atoms).reshape(2, -1).astype(int)
    _expect(species.min() >= 1 and species.max() <= n_species, "atoms of unknown species")
    sizes = np.array([struct.unpack_from("<i", records[5], SPECIES * k + 28)[0] for k in range(n_species)])
    _expect([len(r) for r in records[HEAD : HEAD + n_species]] == [12 * size for size in sizes], "species of another size")
    found = [end - start for start, end in pairwise([0, *last.tolist()])]
    _expect(found == sizes[species - 1].tolist() and last[-1] == n_orbitals, "atoms of another number of orbitals")


def _expect(condition, what: str):
    if not condition:
        raise ValueError(f"it holds {what}")
