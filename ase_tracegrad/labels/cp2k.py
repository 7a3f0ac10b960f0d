"""Labels for crystals: run CP2K on an Atoms and return its H(R), S(R), Fermi level, energy and bands.

GPW with GTH pseudopotentials and MOLOPT Gaussians; CP2K writes the real-space matrices itself
(KS_CSR_WRITE, S_CSR_WRITE with REAL_SPACE). Its order of orbitals is ours. Its cell index R refers
to positions wrapped to fractional (-1/2, 1/2); the returned structure carries those positions.
"""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..basis import Basis, OrbitalLayout
from ..blocks import BlockMatrix
from ..io.cp2k import read_atomic_basis, read_bands, read_real_space_matrix
from ..io.sample import ReferenceBands, Sample
from ..overlap import compute_overlap
from ..structure import Structure
from ..units import HARTREE
from .cp2k_input import Cp2kSettings, write_input
from .errors import LabelError, ScfNotConvergedError

# Rounding decides on which side CP2K puts a coordinate of 1/2: such structures are moved by steps of SHIFT, fractional.
SHIFT = 1e-3
SAME_OVERLAP = 1e-4  # CP2K's S and ours differ by 1e-7 where they belong to the same images


class Cp2kNotFoundError(LabelError):
    """CP2K or its data directory is not installed."""


def find_cp2k() -> tuple[str, Path]:
    """The CP2K binary and its data directory; Cp2kNotFoundError says how to install them."""
    binary = next((b for b in ("cp2k.psmp", "cp2k.ssmp", "cp2k") if shutil.which(b)), None)
    if binary is None:
        raise Cp2kNotFoundError(
            "no CP2K binary (cp2k.psmp, cp2k.ssmp, cp2k) on PATH; on Debian and Ubuntu: "
            "apt-get install --no-install-recommends cp2k cp2k-data"
        )
    data = Path(os.environ.get("CP2K_DATA_DIR", "/usr/share/cp2k"))
    if not (data / "BASIS_MOLOPT").is_file():
        raise Cp2kNotFoundError(f"no CP2K data files in {data}: install cp2k-data or set CP2K_DATA_DIR")
    return binary, data


def wrap_positions(structure: Structure) -> Structure:
    """Positions in the image that CP2K's cell index refers to, fractional s - floor(s + 1/2); periodic in all directions.

    Where a coordinate lies at 1/2 all atoms are moved together along that axis, until none does.
    """
    if abs(np.linalg.det(structure.cell)) < 1e-3:
        raise LabelError(f"CP2K needs three cell vectors, with vacuum where there is no period; found\n{structure.cell}")
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    for axis in fractional.T:
        moved = (axis + step * SHIFT for step in range(len(axis) + 1))  # each atom forbids one step at most
        axis[:] = next(trial for trial in moved if np.abs(trial - np.floor(trial) - 0.5).min() > SHIFT / 4)
    fractional -= np.floor(fractional + 0.5)
    return Structure(structure.numbers, fractional @ structure.cell, structure.cell, np.ones(3, dtype=bool))


def read_basis_set(settings: Cp2kSettings, data: Path) -> Basis:
    """The Gaussian basis of these settings, from CP2K's data file."""
    atoms = {}
    for symbol, name in settings.basis.items():
        atom = read_atomic_basis(data / settings.basis_file, symbol, name)
        atoms[atom.number] = atom
    name = next(iter(settings.basis.values())).rsplit("-q", 1)[0]
    return Basis(atoms, name=name, code="CP2K", xc=settings.xc)


def compute_labels(atoms, settings: Cp2kSettings, *, directory=None, band_kpts=None, keep_files: bool = False) -> Sample:
    """Run CP2K on one thread and return the Sample.

    atoms: ase.Atoms with a full cell; every direction is treated as periodic, so leave vacuum.
    directory: where to run (default: a temporary one). A directory that this call made is removed on success, unless
    keep_files; one that was there before stays.
    band_kpts: (K, 3) fractional k-points at which CP2K prints its own bands.
    Raises LabelError (Cp2kNotFoundError, ScfNotConvergedError).
    """
    binary, data = find_cp2k()
    structure = wrap_positions(Structure.from_atoms(atoms))
    symbols = atoms.get_chemical_symbols()
    for name, table in (("basis", settings.basis), ("potential", settings.potential)):
        missing = sorted(set(symbols) - set(table))
        if missing:
            raise LabelError(f"the settings name no {name} for {', '.join(missing)}")
    was_there = directory is not None and Path(directory).exists()
    directory = Path(tempfile.mkdtemp(prefix="cp2k-")) if directory is None else Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "label.inp").write_text(write_input(structure, symbols, settings, band_kpts))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CP2K_DATA_DIR": str(data)}
    with open(directory / "label.err", "w") as errors:
        code = subprocess.run(
            [binary, "-i", "label.inp", "-o", "label.out"],
            cwd=directory,
            env=environment,
            stdout=errors,
            stderr=errors,
            check=False,  # the output says more than the exit code; it is judged below
        ).returncode
    output = (directory / "label.out").read_text() if (directory / "label.out").exists() else ""
    if "SCF run NOT converged" in output:
        raise ScfNotConvergedError(
            f"SCF did not converge in {settings.max_scf} steps (output: {directory / 'label.out'}); "
            "raise max_scf or the temperature"
        )
    steps = re.search(r"SCF run converged in\s+(\d+) steps", output)
    if code != 0 or steps is None or "PROGRAM ENDED" not in output:
        tail = "; ".join(line.strip(" *") for line in output.splitlines()[-30:] if line.strip(" *"))[-400:]
        raise LabelError(f"CP2K stopped with exit code {code} (output: {directory / 'label.out'}): {tail}")
    sample = _read_output(directory, output, structure, read_basis_set(settings, data), settings, band_kpts)
    sample.info["scf_steps"] = int(steps.group(1))
    if not (keep_files or was_there):
        shutil.rmtree(directory)
    return sample


def _read_output(directory, output, structure, basis, settings, band_kpts) -> Sample:
    layout: OrbitalLayout = basis.layout(structure.numbers)
    matrices: dict[str, BlockMatrix] = {}
    for tag in ("KS", "S"):
        cells, dense = read_real_space_matrix(directory, output, tag, layout.total)
        scale = HARTREE if tag == "KS" else 1.0
        matrices[tag] = BlockMatrix.from_dense(layout, cells, scale * dense)
    fermi_level = float(re.findall(r"Fermi energy:\s+(\S+)", output)[-1]) * HARTREE
    version = re.search(r"CP2K\| version string:\s+(.*)", output)
    info = {
        "code": "CP2K",
        "version": version.group(1).strip() if version else "unknown",
        "fermi_level": fermi_level,
        "total_energy": float(re.findall(r"Total energy:\s+(\S+)", output)[-1]) * HARTREE,
        "settings": asdict(settings),
    }
    ours = compute_overlap(structure, basis).restricted_to(matrices["S"])
    largest = np.abs((matrices["S"] - ours).values).max()
    if not largest < SAME_OVERLAP:
        raise LabelError(
            f"CP2K's overlap differs from that of the same orbitals at these positions by up to {largest:.1e}: "
            f"its cells R are not those of the structure (output in {directory}). Please report this structure"
        )
    bands = None
    if band_kpts is not None:
        kpts, energies = read_bands(directory / "label.bs")
        bands = ReferenceBands(kpts, energies, fermi_level)
    return Sample(structure, basis, matrices["KS"], matrices["S"], info, bands)
