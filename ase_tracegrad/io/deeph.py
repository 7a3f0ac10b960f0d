"""The two DeepH folder formats, read and written, spinless and spinor. Both hold eV and Angstrom.

Legacy (DeepH-pack, DeepH-E3; defined by DeepH-pack/deeph/preprocess/openmx_get_data.jl): one dataset per
block, key "[R1, R2, R3, i, j]" with atoms counted from 1, orbitals in OpenMX's order, lattice vectors and
positions as columns. New (DeepH-dock, docs/key_concepts.md): flat arrays, atoms from 0, our own order.
A spinor block is [[uu, ud], [du, dd]] in both; the overlap is spinless. Neither format stores
periodicity: every direction is read as periodic.
"""

import json
import operator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..basis import OrbitalLayout
from ..blocks import BlockKey, BlockMatrix, SpinKind
from ..conventions import OPENMX
from ..damage import DAMAGE
from ..replace_file import replace_file, replace_text, require_space
from ..structure import Structure
from .consistency import check_lattice, check_matrix, check_pairs, make_real, unit_overlap
from .deeph_summary import read_legacy_summary, read_new_summary
from .hdf5 import open_hdf5, read_array
from .poscar import write_poscar
from .sample import FormatError, Sample

LEGACY_FILES = {"hamiltonian": "hamiltonians.h5", "overlap": "overlaps.h5"}
NEW_FILES = {"hamiltonian": "hamiltonian.h5", "overlap": "overlap.h5"}
NEW_DATASETS = ("atom_pairs", "chunk_boundaries", "chunk_shapes", "entries")


def read_deeph_legacy(folder) -> Sample:
    """A folder of the legacy format. FormatError names the file, what was expected and what was found."""
    folder = Path(folder)
    summary = read_legacy_summary(folder)
    structure, layout = summary.structure, summary.basis.layout(summary.structure.numbers)
    hamiltonian = _read_legacy_matrix(folder / LEGACY_FILES["hamiltonian"], layout, summary.spinful)
    if summary.facts.get("isorthogonal"):
        overlap = unit_overlap(layout)
    else:
        overlap = make_real(folder / LEGACY_FILES["overlap"], _read_legacy_matrix(folder / LEGACY_FILES["overlap"], layout, False))
    check_lattice(folder / "lat.dat", structure, hamiltonian)
    check_pairs(folder / LEGACY_FILES["overlap"], structure, hamiltonian, overlap)
    info = {"format": "DeepH legacy"} | _read_numbers(folder, summary.facts, "fermi_level")
    return Sample(structure, summary.basis, hamiltonian, overlap, info)


def read_deeph(folder) -> Sample:
    """A folder of the new format; info['n_electrons'] where the file tells the occupation."""
    folder = Path(folder)
    summary = read_new_summary(folder)
    structure, layout = summary.structure, summary.basis.layout(summary.structure.numbers)
    hamiltonian = _read_new_matrix(folder / NEW_FILES["hamiltonian"], layout, summary.spinful)
    if summary.facts.get("orthogonal_basis"):
        overlap = unit_overlap(layout)
    else:
        overlap = make_real(folder / NEW_FILES["overlap"], _read_new_matrix(folder / NEW_FILES["overlap"], layout, False))
    check_lattice(folder / "POSCAR", structure, hamiltonian)
    check_pairs(folder / NEW_FILES["overlap"], structure, hamiltonian, overlap)
    info = {"format": "DeepH new"} | _read_numbers(folder, summary.facts, "fermi_energy_eV")
    return Sample(structure, summary.basis, hamiltonian, overlap, info)


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
        require_space(folder / name, matrix.values.nbytes + 1000 * len(matrix))  # each block has a head
        with replace_file(folder / name) as part, h5py.File(part, "w") as file:
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
        require_space(folder / name, matrix.values.nbytes + 100 * len(matrix))
        with replace_file(folder / name) as part, h5py.File(part, "w") as file:
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
    what = "orbital_types.dat, " + ("overlaps have no spin" if path.name == LEGACY_FILES["overlap"] else f"isspinful = {spinful}")
    blocks: dict[BlockKey, np.ndarray] = {}
    with open_hdf5(path) as file:
        for key in file:
            r, i, j = _parse_key(path, key, layout.n_atoms)
            rows, columns = orders[i], orders[j]
            block = read_array(file, key, "iufc")
            if np.shape(block) != (len(rows), len(columns)):
                raise FormatError(
                    f"{path}: block {key} must have shape {(len(rows), len(columns))} ({what}), found {np.shape(block)}"
                )
            if (i, j, r) in blocks:
                raise FormatError(f"{path}: the block {key} is there twice, in two ways of writing its key")
            blocks[i, j, r] = block[np.ix_(rows, columns)]
    return check_matrix(path, lambda: BlockMatrix.from_blocks(layout, blocks, spin))


def _parse_key(path: Path, key: str, n_atoms: int) -> tuple[tuple[int, int, int], int, int]:
    """R and the atoms, counted from 0, of a key "[R1, R2, R3, i, j]"."""
    try:
        r1, r2, r3, i, j = (operator.index(x) for x in json.loads(key))
    except DAMAGE as error:
        raise FormatError(f'{path}: expected keys "[R1, R2, R3, i, j]" of whole numbers, found {key!r}') from error
    if not (1 <= i <= n_atoms and 1 <= j <= n_atoms):
        raise FormatError(f"{path}: key {key} names an atom that is not there; atoms are counted from 1 to {n_atoms}")
    return (r1, r2, r3), i - 1, j - 1


def _read_new_matrix(path: Path, layout: OrbitalLayout, spinful: bool) -> BlockMatrix:
    with open_hdf5(path) as file:
        missing = set(NEW_DATASETS) - set(file)
        if missing:
            raise FormatError(f"{path}: the dataset(s) {sorted(missing)} are missing")
        pairs, boundaries, shapes, entries = (read_array(file, key, "iufc") for key in NEW_DATASETS)
    if np.ndim(pairs) != 2 or pairs.shape[1] != 5 or pairs.dtype.kind not in "iu":
        raise FormatError(
            f"{path}: atom_pairs must be rows R1 R2 R3 i j of whole numbers, found {pairs.dtype} of shape {np.shape(pairs)}"
        )
    matrix = check_matrix(path, lambda: BlockMatrix(layout, pairs[:, 3:], pairs[:, :3], entries, "spinor" if spinful else "none"))
    if not np.array_equal(shapes, matrix.shapes) or not np.array_equal(boundaries, matrix.offsets):
        raise FormatError(f"{path}: chunk_shapes or chunk_boundaries contradict elements_orbital_map and spinful = {spinful}")
    return matrix


def _orders(layout: OrbitalLayout, n_spin: int, convert) -> list[np.ndarray]:
    """Gather index of the orbitals of each atom; OpenMX's order has no signs."""
    gathers = [convert(atom)[0] for atom in layout.shells]
    return [np.concatenate([gather + spin * len(gather) for spin in range(n_spin)]) for gather in gathers]


def _read_numbers(folder: Path, facts: dict[str, Any], fermi_level: str) -> dict[str, Any]:
    """fermi_level (eV) and n_electrons, where info.json tells them."""
    try:
        names = ((fermi_level, "fermi_level"), ("occupation", "n_electrons"))
        found = {name: float(facts[key]) for key, name in names if facts.get(key) is not None}
    except DAMAGE as error:
        raise FormatError(f"{folder / 'info.json'}: {fermi_level} and occupation must be numbers: {error}") from error
    if not np.isfinite(list(found.values())).all():
        raise FormatError(f"{folder / 'info.json'}: {fermi_level} and occupation must be finite, or null; found {found}")
    return found
