"""Forces from CP2K with the settings of the labels: force constants that belong to the Hamiltonians."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from ..structure import Structure
from ..units import BOHR, HARTREE
from .cp2k import find_cp2k, wrap_positions
from .cp2k_input import Cp2kSettings, write_input
from .errors import LabelError


def compute_forces(atoms, settings: Cp2kSettings) -> np.ndarray:
    """Forces (N, 3) in eV/Angstrom of an ase.Atoms with a full cell, on one thread; LabelError if CP2K does not end well."""
    binary, data = find_cp2k()
    structure = wrap_positions(Structure.from_atoms(atoms))
    directory = Path(tempfile.mkdtemp(prefix="cp2k-forces-"))
    (directory / "forces.inp").write_text(_write_force_input(structure, atoms.get_chemical_symbols(), settings))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CP2K_DATA_DIR": str(data)}
    command = [binary, "-i", "forces.inp", "-o", "forces.out"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    written = directory / "forces.out"
    output = written.read_text() if written.exists() else ""
    if done.returncode != 0 or "SCF run converged" not in output or "PROGRAM ENDED" not in output:
        raise LabelError(f"CP2K gave no converged forces (exit code {done.returncode}, output: {written})")
    forces = read_forces(output, len(structure))
    shutil.rmtree(directory)
    return forces


def read_forces(output: str, n_atoms: int) -> np.ndarray:
    """Forces (N, 3) in eV/Angstrom from the text of a CP2K output."""
    lines = output.splitlines()
    title = next((n for n, line in enumerate(lines) if "ATOMIC FORCES in [a.u.]" in line), None)
    if title is None:
        raise LabelError("the output of CP2K holds no table 'ATOMIC FORCES in [a.u.]'")
    first = next(n for n in range(title, len(lines)) if lines[n].split()[:2] == ["1", "1"])
    rows = [line.split()[3:6] for line in lines[first : first + n_atoms]]
    return np.array(rows, dtype=float) * HARTREE / BOHR


def _write_force_input(structure: Structure, symbols: list[str], settings: Cp2kSettings) -> str:
    """The input of a label with forces in place of the matrices."""
    text = write_input(structure, symbols, settings, None).replace("RUN_TYPE ENERGY", "RUN_TYPE ENERGY_FORCE")
    begin, end = text.index("&KS_CSR_WRITE"), text.index("&SUBSYS")
    return text[:begin] + "&END\n&END\n&PRINT\n &FORCES ON\n &END\n&END\n" + text[end:]
