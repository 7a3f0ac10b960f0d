"""The two DeepH folder formats, read and written, spinless and spinor. Both hold eV and Angstrom.

Legacy (DeepH-pack, DeepH-E3; defined by DeepH-pack/deeph/preprocess/openmx_get_data.jl): one dataset per
block, key "[R1, R2, R3, i, j]" with atoms counted from 1, orbitals in OpenMX's order, lattice vectors and
positions as columns. New (DeepH-dock, docs/key_concepts.md): flat arrays, atoms from 0, our own order.
A spinor block is [[uu, ud], [du, dd]] in both; the overlap is spinless. Neither format stores
periodicity: every direction is read as periodic.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..basis import AtomicBasis, Basis, OrbitalLayout
from ..blocks import BlockMatrix, SpinKind
from ..conventions import OPENMX
from ..replace_file import replace_file, replace_text
from ..structure import Structure, StructureError
from .consistency import check_lattice, check_matrix, check_pairs, unit_overlap
from .poscar import read_poscar, write_poscar
from .sample import FormatError, Sample

LEGACY_FILES = {"hamiltonian": "hamiltonians.h5", "overlap": "overlaps.h5"}
NEW_FILES = {"hamiltonian": "hamiltonian.h5", "overlap": "overlap.h5"}


def read_deeph_legacy(folder) -> Sample:
    """A folder of the legacy format. FormatError names the file, what was expected and what was found."""
    folder = Path(folder)
    facts = _read_info(folder, ("isspinful",))
    numbers = read_table(folder / "element.dat").astype(int).ravel()
    cell, positions = (read_table(folder / name).T for name in ("lat.dat", "site_positions.dat"))
    _check_reciprocal(folder, cell)
    try:
        structure = Structure(numbers, positions, cell, np.ones(3, dtype=bool))
    except StructureError as error:
        raise FormatError(f"{folder}: element.dat, site_positions.dat and lat.dat give no structure: {error}") from error
    lines = read_text(folder / "orbital_types.dat").split("\n")
    try:
        shells = [tuple(int(l) for l in line.split()) for line in lines if line.strip()]
    except ValueError as error:
        raise FormatError(f"{folder / 'orbital_types.dat'}: expected the l of each shell, one atom a line: {error}") from error
    if len(shells) != len(numbers):
        raise FormatError(f"{folder / 'orbital_types.dat'}: expected a line for each of {len(numbers)} atoms, found {len(shells)}")
    atoms: dict[int, AtomicBasis] = {}
    for number, momenta in zip(numbers.tolist(), shells, strict=True):
        if atoms.setdefault(number, AtomicBasis(number, momenta)).angular_momenta != momenta:
            raise FormatError(f"{folder / 'orbital_types.dat'}: element {number} has two sets of shells, which is not supported")
    spinful = bool(facts["isspinful"])
    layout = OrbitalLayout(tuple(shells))
    hamiltonian = _read_legacy_matrix(folder / LEGACY_FILES["hamiltonian"], layout, spinful)
    if facts.get("isorthogonal"):
        overlap = unit_overlap(layout)
    else:
        overlap = _read_legacy_matrix(folder / LEGACY_FILES["overlap"], layout, False)
    check_lattice(folder / "lat.dat", structure, hamiltonian)
    check_pairs(folder / LEGACY_FILES["overlap"], structure, hamiltonian, overlap)
    info = {"format": "DeepH legacy"} | _read_numbers(folder, facts, "fermi_level")
    return Sample(structure, Basis(atoms), hamiltonian, overlap, info)


def read_deeph(folder) -> Sample:
    """A folder of the new format; info['n_electrons'] where the file tells the occupation."""
    folder = Path(folder)
    facts = _read_info(folder, ("spinful", "elements_orbital_map"))
    structure = read_poscar(folder / "POSCAR")
    from ase.data import atomic_numbers

    try:
        shells = {atomic_numbers[symbol]: tuple(int(l) for l in row) for symbol, row in facts["elements_orbital_map"].items()}
        basis = Basis({number: AtomicBasis(number, momenta) for number, momenta in shells.items()})
        layout = basis.layout(structure.numbers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{folder / 'info.json'}: elements_orbital_map does not fit POSCAR: {error}") from error
    for key, found in (("atoms_quantity", layout.n_atoms), ("orbits_quantity", layout.total)):
        if facts.get(key, found) != found:
            raise FormatError(f"{folder / 'info.json'}: {key} is {facts[key]}, but POSCAR and elements_orbital_map give {found}")
    hamiltonian = _read_new_matrix(folder / NEW_FILES["hamiltonian"], layout, bool(facts["spinful"]))
    if facts.get("orthogonal_basis"):
        overlap = unit_overlap(layout)
    else:
        overlap = _read_new_matrix(folder / NEW_FILES["overlap"], layout, False)
    check_lattice(folder / "POSCAR", structure, hamiltonian)
    check_pairs(folder / NEW_FILES["overlap"], structure, hamiltonian, overlap)
    info = {"format": "DeepH new"} | _read_numbers(folder, facts, "fermi_energy_eV")
    return Sample(structure, basis, hamiltonian, overlap, info)


def write_deeph_legacy(folder, sample: Sample):
    """Write the legacy format. Radial functions are lost; the electron count goes into info.json, where DeepH ignores it."""
    _check_cell(sample.structure)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    structure = sample.structure
    tables = {
        "element.dat": structure.numbers[:, None],
        "lat.dat": structure.cell.T,
        "rlat.dat": 2 * np.pi * np.linalg.inv(structure.cell),
        "site_positions.dat": structure.positions.T,
    }
    for name, table in tables.items():
        with replace_file(folder / name) as part:
            np.savetxt(part, table, fmt="%d" if name == "element.dat" else "%.17g")
    layout = sample.hamiltonian.layout
    replace_text(folder / "orbital_types.dat", "".join("  ".join(map(str, atom)) + "\n" for atom in layout.shells))
    facts: dict[str, Any] = {
        "nsites": layout.n_atoms,
        "isorthogonal": False,
        "isspinful": sample.hamiltonian.spin == "spinor",
        "fermi_level": sample.info.get("fermi_level"),
    }
    if "n_electrons" in sample.info:
        facts["occupation"] = sample.info["n_electrons"]
    replace_text(folder / "info.json", json.dumps(facts))
    for key, name in LEGACY_FILES.items():
        matrix: BlockMatrix = getattr(sample, key)
        orders = _orders(layout, matrix.n_spin, OPENMX.from_ours)
        with _create(folder / name) as file:
            for (i, j, r), block in matrix.items():
                file[json.dumps([*r, i + 1, j + 1])] = block[np.ix_(orders[i], orders[j])]


def write_deeph(folder, sample: Sample):
    """Write the new format. Atoms are put in groups of one element, as POSCAR demands; radial functions are lost."""
    from ase.data import chemical_symbols

    _check_cell(sample.structure)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = sample.structure.numbers.tolist()
    order = np.array(sorted(range(len(numbers)), key=lambda atom: numbers.index(numbers[atom])))
    place = np.argsort(order)
    write_poscar(folder / "POSCAR", sample.structure, order)
    facts: dict[str, Any] = {
        "atoms_quantity": len(numbers),
        "orbits_quantity": sample.hamiltonian.layout.total,
        "orthogonal_basis": False,
        "spinful": sample.hamiltonian.spin == "spinor",
        "fermi_energy_eV": sample.info.get("fermi_level"),
        "elements_orbital_map": {chemical_symbols[z]: list(sample.basis[z].angular_momenta) for z in dict.fromkeys(numbers)},
    }
    if "n_electrons" in sample.info:
        facts["occupation"] = sample.info["n_electrons"]
    replace_text(folder / "info.json", json.dumps(facts))
    for key, name in NEW_FILES.items():
        matrix: BlockMatrix = getattr(sample, key)
        with _create(folder / name) as file:
            file["atom_pairs"] = np.hstack([matrix.shifts, place[matrix.pairs]]).astype(np.int64)
            file["chunk_boundaries"] = matrix.offsets.astype(np.int64)
            file["chunk_shapes"] = matrix.shapes.astype(np.int64)
            file["entries"] = matrix.values


def _check_cell(structure: Structure):
    """ValueError for a structure that the formats cannot hold: they have three cell vectors, and take all as periods."""
    missing = np.nonzero(np.linalg.norm(structure.cell, axis=1) < 1e-3)[0].tolist()
    if missing:
        raise ValueError(
            f"DeepH folders need three cell vectors, this structure has none along axis {', '.join(map(str, missing))}: "
            "put it in a box with room around it, atoms.center(vacuum=10), or write a packed file"
        )


def _read_legacy_matrix(path: Path, layout: OrbitalLayout, spinful: bool) -> BlockMatrix:
    spin: SpinKind = "spinor" if spinful else "none"
    orders = _orders(layout, 2 if spinful else 1, OPENMX.to_ours)
    blocks = {}
    with _open(path) as file:
        for key in file:
            r, i, j = _parse_key(path, key, layout.n_atoms)
            rows, columns = orders[i], orders[j]
            if not isinstance(file[key], h5py.Dataset):
                raise FormatError(f"{path}: {key} must be a dataset, found a group")
            block = file[key][()]
            if np.shape(block) != (len(rows), len(columns)):
                raise FormatError(
                    f"{path}: block {key} must have shape {(len(rows), len(columns))} (orbital_types.dat, isspinful = {spinful}), "
                    f"found {np.shape(block)}"
                )
            blocks[i, j, r] = block[np.ix_(rows, columns)]
    return check_matrix(path, lambda: BlockMatrix.from_blocks(layout, blocks, spin))


def _parse_key(path: Path, key: str, n_atoms: int) -> tuple[tuple[int, int, int], int, int]:
    """R and the atoms, counted from 0, of a key "[R1, R2, R3, i, j]"."""
    try:
        r1, r2, r3, i, j = (int(x) for x in json.loads(key))
    except (ValueError, TypeError) as error:
        raise FormatError(f'{path}: expected keys "[R1, R2, R3, i, j]", found {key!r}') from error
    if not (1 <= i <= n_atoms and 1 <= j <= n_atoms):
        raise FormatError(f"{path}: key {key} names an atom that is not there; atoms are counted from 1 to {n_atoms}")
    return (r1, r2, r3), i - 1, j - 1


def _read_new_matrix(path: Path, layout: OrbitalLayout, spinful: bool) -> BlockMatrix:
    with _open(path) as file:
        missing = {"atom_pairs", "chunk_boundaries", "chunk_shapes", "entries"} - set(file)
        if missing:
            raise FormatError(f"{path}: the dataset(s) {sorted(missing)} are missing")
        pairs, boundaries, shapes, entries = (
            file[key][()] for key in ("atom_pairs", "chunk_boundaries", "chunk_shapes", "entries")
        )
    if pairs.ndim != 2 or pairs.shape[1] != 5:
        raise FormatError(f"{path}: atom_pairs must be rows R1 R2 R3 i j, found shape {pairs.shape}")
    matrix = check_matrix(path, lambda: BlockMatrix(layout, pairs[:, 3:], pairs[:, :3], entries, "spinor" if spinful else "none"))
    if not np.array_equal(shapes, matrix.shapes) or not np.array_equal(boundaries, matrix.offsets):
        raise FormatError(f"{path}: chunk_shapes or chunk_boundaries contradict elements_orbital_map and spinful = {spinful}")
    return matrix


def _check_reciprocal(folder: Path, cell: np.ndarray):
    """rlat.dat, where present, shows whether the vectors are columns, as the format demands."""
    if not (folder / "rlat.dat").exists():
        return
    product = cell @ read_table(folder / "rlat.dat")
    if product.shape != (3, 3) or not np.abs(product - 2 * np.pi * np.eye(3)).max() < 1e-3:
        raise FormatError(
            f"{folder}: lat.dat and rlat.dat do not belong together; both hold vectors as columns: is one of them transposed?"
        )


def _orders(layout: OrbitalLayout, n_spin: int, convert) -> list[np.ndarray]:
    """Gather index of the orbitals of each atom; OpenMX's order has no signs."""
    gathers = [convert(atom)[0] for atom in layout.shells]
    return [np.concatenate([gather + spin * len(gather) for spin in range(n_spin)]) for gather in gathers]


def _read_info(folder: Path, required: tuple[str, ...]) -> dict[str, Any]:
    try:
        facts = json.loads(read_text(folder / "info.json"))
    except ValueError as error:
        raise FormatError(f"{folder / 'info.json'} is not readable: {error}") from error
    if not isinstance(facts, dict):
        raise FormatError(f"{folder / 'info.json'}: expected a JSON object, found {type(facts).__name__}")
    missing = [key for key in required if key not in facts]
    if missing:
        raise FormatError(f"{folder / 'info.json'}: the key(s) {missing} are missing; it holds {sorted(facts)}")
    return facts


def _read_numbers(folder: Path, facts: dict[str, Any], fermi_level: str) -> dict[str, Any]:
    """fermi_level (eV) and n_electrons, where info.json tells them."""
    try:
        names = ((fermi_level, "fermi_level"), ("occupation", "n_electrons"))
        return {name: float(facts[key]) for key, name in names if facts.get(key) is not None}
    except (TypeError, ValueError) as error:
        raise FormatError(f"{folder / 'info.json'}: {fermi_level} and occupation must be numbers: {error}") from error


def read_text(path: Path) -> str:
    """The text of one of a folder's small files; FormatError if it is missing."""
    if not path.is_file():
        raise FormatError(f"{path} is missing; the folder holds {sorted(p.name for p in path.parent.glob('*'))}")
    return path.read_text()


def read_table(path: Path) -> np.ndarray:
    """The rows of numbers in a text file; FormatError if it holds anything else."""
    try:
        return np.array([[float(x) for x in line.split()] for line in read_text(path).splitlines() if line.strip()])
    except ValueError as error:
        raise FormatError(f"{path}: expected a table of numbers: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise FormatError(f"{path} is missing; the folder holds {sorted(p.name for p in path.parent.glob('*'))}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:  # KeyError and RuntimeError: damage that shows behind the header
        raise FormatError(f"{path} is not a readable HDF5 file (truncated or damaged): {error}") from error


@contextmanager
def _create(path: Path) -> Iterator[h5py.File]:
    with replace_file(path) as part, h5py.File(part, "w") as file:
        yield file
