"""H and S of a SIESTA run from its .HSX file, read through sisl (an optional package).

SIESTA's harmonics carry the Condon-Shortley sign, S is on the pairs of H (zero beyond the orbitals' reach), and a
block that a spin-orbit calculation stores is <phi_i(0)|H|phi_j(R)> with its four spin parts complex. sisl subtracts the
Fermi level; it is put back.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..basis import AtomicBasis, Basis, OrbitalLayout
from ..blocks import BlockMatrix
from ..conventions import SIESTA
from ..damage import DAMAGE
from ..structure import Structure
from .consistency import check_matrix, check_pairs
from .hsx_records import check_records
from .sample import FormatError, Sample
from .siesta import read_ion

NO_VERSION = 100  # other files' first bytes read as huge numbers


def read_hsx(path) -> Sample:
    """The sample in a .HSX file of SIESTA 5 or later, or in a folder with exactly one.

    The .ion or .ion.xml files of the species beside it, where present, give radial functions and valence. Periodic in all
    directions, as SIESTA is. FormatError for other files, spin-polarised calculations and if sisl is not installed.
    """
    path = _find_file(Path(path))
    try:
        return _read_file(path)
    except FormatError:
        raise
    except (*DAMAGE, OSError, RuntimeError, MemoryError) as error:  # sisl takes the numbers of the file as they are
        raise FormatError(f"{path}: not a readable HSX file (truncated or damaged): {error!r}") from error


def _read_file(path: Path) -> Sample:
    matrix, fermi_level = _read_with_sisl(path)
    if not np.isfinite(fermi_level):
        raise FormatError(f"{path}: not a readable HSX file (truncated or damaged): its Fermi level is {fermi_level}")
    geometry = matrix.geometry
    structure = Structure(geometry.atoms.Z, geometry.xyz, geometry.cell, np.ones(3, dtype=bool))
    basis = Basis(_read_shells(path, geometry), name="SIESTA", code="SIESTA")
    layout = basis.layout(structure.numbers)
    overlap = check_matrix(path, lambda: _to_blocks(layout, geometry, [matrix.tocsr(matrix.S_idx)], "none"))
    hamiltonian = check_matrix(path, lambda: _to_blocks(layout, geometry, *_spin_parts(path, matrix)))
    check_pairs(path, structure, hamiltonian, overlap)
    info: dict[str, Any] = {"format": "SIESTA HSX", "fermi_level": fermi_level}
    if all(atom.valence is not None for atom in basis.atoms.values()):
        info["n_electrons"] = basis.count_electrons(structure.numbers)
    return Sample(structure, basis, _shift(hamiltonian, overlap, fermi_level), overlap, info)


def _read_with_sisl(path: Path) -> tuple[Any, float]:
    """(sisl's Hamiltonian relative to the Fermi level, the Fermi level in eV)."""
    try:
        import sisl
    except ImportError as error:
        raise FormatError(f"{path}: SIESTA's .HSX files are read through sisl, which is missing: pip install sisl") from error

    class File(sisl.io.siesta.hsxSileSiesta):
        # sisl 0.20 takes .true. of Intel's compiler (-1) for no answer to whether the file is in double precision.
        _stored_dtype = np.float64

    try:
        file = File(path)
        if file.version == 0:
            raise FormatError(f"{path}: written by SIESTA 4 or older, without shells and cell; SIESTA 5 writes them")
        if not 0 < file.version < NO_VERSION:
            raise FormatError(f"{path}: not a readable HSX file (truncated or damaged): its version reads {file.version}")
        check_records(path)
        with warnings.catch_warnings():  # sisl warns of what HSX files never hold
            warnings.simplefilter("ignore")
            return file.read_hamiltonian(), float(file.read_fermi_level())
    except sisl.SislError as error:
        raise FormatError(f"{path}: not a readable HSX file (truncated or damaged): {error}") from error


def _find_file(path: Path) -> Path:
    files = sorted(path.glob("*.HSX")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise FormatError(f"{path}: expected one .HSX file, found {[file.name for file in files if file.is_file()]}")
    return files[0]


def _read_shells(path: Path, geometry) -> dict[int, AtomicBasis]:
    atoms: dict[int, AtomicBasis] = {}
    for atom in geometry.atoms.atom:
        momenta = tuple(int(orbital.l) for orbital in atom.orbitals if orbital.m == -orbital.l)
        found = AtomicBasis(int(atom.Z), momenta)
        for name in (f"{atom.tag}.ion", f"{atom.tag}.ion.xml"):
            if (path.parent / name).is_file():
                found = read_ion(path.parent / name)
                break
        if found.angular_momenta != momenta or found.number != atom.Z:
            raise FormatError(
                f"{path}: {atom.tag} has shells {momenta}, but {name} holds {found.angular_momenta} of Z = {found.number}"
            )
        if atoms.setdefault(int(atom.Z), found).angular_momenta != momenta:
            raise FormatError(f"{path}: element {atom.Z} has two sets of shells, which is not supported")
    return atoms


def _spin_parts(path: Path, matrix) -> tuple[list, str]:
    """The sparse matrices of [uu, ud, du, dd], or of the only part, and the spin kind."""
    spin, part = matrix.spin, matrix.tocsr
    if spin.is_unpolarized:
        return [part(0)], "none"
    if spin.is_noncolinear:
        return [part(0), part(2) + 1j * part(3), part(2) - 1j * part(3), part(1)], "spinor"
    if spin.is_spinorbit:
        return [part(0) + 1j * part(4), part(2) + 1j * part(3), part(6) + 1j * part(7), part(1) + 1j * part(5)], "spinor"
    raise FormatError(f"{path}: a spin-polarised calculation; expected one without spin or with spin-orbit coupling")


def _to_blocks(layout: OrbitalLayout, geometry, parts: list, spin) -> BlockMatrix:
    """Blocks from sparse matrices whose columns run over the orbitals of one cell after the other."""
    n, n_spin = layout.total, 1 if len(parts) == 1 else 2
    signs = np.concatenate([SIESTA.to_ours(atom)[1] for atom in layout.shells])
    atom_of = np.repeat(np.arange(layout.n_atoms), layout.sizes)
    coordinates = [part.tocoo() for part in parts]
    keys = [np.stack([c.col // n, atom_of[c.row], atom_of[c.col % n]], axis=1) for c in coordinates]
    blocks, number = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    pairs, shifts = blocks[:, 1:], np.asarray(geometry.lattice.sc_off)[blocks[:, 0]]
    width = n_spin * layout.sizes[pairs[:, 1]]
    edges = np.concatenate([[0], np.cumsum(n_spin * layout.sizes[pairs[:, 0]] * width)])
    values = np.zeros(edges[-1], dtype=float if n_spin == 1 else complex)
    numbers = np.split(number.ravel(), np.cumsum([len(key) for key in keys])[:-1])
    for k, (c, b) in enumerate(zip(coordinates, numbers, strict=True)):
        (i, j), column = pairs[b].T, c.col % n
        row_in = c.row - layout.offsets[i] + (k // 2) * layout.sizes[i]
        column_in = column - layout.offsets[j] + (k % 2) * layout.sizes[j]
        values[edges[b] + row_in * width[b] + column_in] = signs[c.row] * signs[column] * c.data
    return BlockMatrix(layout, pairs, shifts, values, spin)


def _shift(hamiltonian: BlockMatrix, overlap: BlockMatrix, energy: float) -> BlockMatrix:
    """H + energy S; the spin-up and spin-down parts of a spinor move alike."""
    blocks = dict(hamiltonian.items())
    unit = np.eye(hamiltonian.n_spin)
    for key, block in overlap.items():
        blocks[key] = blocks.get(key, 0) + energy * np.kron(unit, block)
    return BlockMatrix.from_blocks(hamiltonian.layout, blocks, hamiltonian.spin)
