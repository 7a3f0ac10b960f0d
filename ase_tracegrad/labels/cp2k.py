"""Labels for crystals: run CP2K on an Atoms and return its H(R), S(R), Fermi level, energy and bands.

GPW with GTH pseudopotentials and MOLOPT Gaussians; CP2K writes the real-space matrices itself
(KS_CSR_WRITE, S_CSR_WRITE with REAL_SPACE). Its order of orbitals is ours. Its cell index R refers
to positions wrapped to fractional [-1/2, 1/2); the returned structure carries those positions.
"""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..basis import Basis, OrbitalLayout
from ..blocks import BlockMatrix
from ..io.cp2k import read_atomic_basis, read_bands, read_real_space_matrix
from ..io.sample import ReferenceBands, Sample
from ..structure import Structure
from ..units import HARTREE


class LabelError(RuntimeError):
    """CP2K could not give labels for this structure; the message says why and where its output is."""


class Cp2kNotFoundError(LabelError):
    """CP2K or its data directory is not installed."""


class ScfNotConvergedError(LabelError):
    """The self-consistency loop ran out of steps."""


@dataclass(frozen=True)
class Cp2kSettings:
    """What decides the label. Energies in CP2K's units as named; the defaults give 0.3 meV of grid noise in bands.

    kpoints: mesh, shifted by half a step along every axis that has more than one point.
    basis, potential: names in the data files by element symbol.
    """

    kpoints: tuple[int, int, int]
    cutoff: float = 350.0  # Ry
    rel_cutoff: float = 60.0  # Ry
    eps_default: float = 1e-12
    eps_scf: float = 1e-7
    electronic_temperature: float = 1000.0  # K, Fermi-Dirac
    max_scf: int = 100
    added_mos: int = 20
    threshold: float = 1e-9  # Hartree; smaller elements are not written
    xc: str = "PBE"
    basis_file: str = "BASIS_MOLOPT"
    basis: dict[str, str] = field(default_factory=lambda: {"C": "DZVP-MOLOPT-SR-GTH-q4"})
    potential: dict[str, str] = field(default_factory=lambda: {"C": "GTH-PBE-q4"})


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
    """Positions in the image that CP2K's cell index refers to, fractional s - floor(s + 1/2); periodic in all directions."""
    if abs(np.linalg.det(structure.cell)) < 1e-3:
        raise LabelError(f"CP2K needs three cell vectors, with vacuum where there is no period; found\n{structure.cell}")
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    fractional -= np.floor(fractional + 0.5)
    return Structure(structure.numbers, fractional @ structure.cell, structure.cell, [True] * 3)


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
    directory: where to run (default: a temporary one); removed on success unless keep_files.
    band_kpts: (K, 3) fractional k-points at which CP2K prints its own bands.
    Raises LabelError (Cp2kNotFoundError, ScfNotConvergedError).
    """
    binary, data = find_cp2k()
    structure = wrap_positions(Structure.from_atoms(atoms))
    directory = Path(directory) if directory else Path(tempfile.mkdtemp(prefix="cp2k-"))
    directory.mkdir(parents=True, exist_ok=True)
    symbols = atoms.get_chemical_symbols()
    for name, table in (("basis", settings.basis), ("potential", settings.potential)):
        missing = sorted(set(symbols) - set(table))
        if missing:
            raise LabelError(f"the settings name no {name} for {', '.join(missing)}")
    (directory / "label.inp").write_text(_write_input(structure, symbols, settings, band_kpts))
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
            f"SCF did not converge in {settings.max_scf} steps (output: {directory / 'label.out'}); raise max_scf or the temperature"
        )
    steps = re.search(r"SCF run converged in\s+(\d+) steps", output)
    if code != 0 or steps is None or "PROGRAM ENDED" not in output:
        tail = "; ".join(line.strip(" *") for line in output.splitlines()[-30:] if line.strip(" *"))[-400:]
        raise LabelError(f"CP2K stopped with exit code {code} (output: {directory / 'label.out'}): {tail}")
    sample = _read_output(directory, output, structure, read_basis_set(settings, data), settings, band_kpts)
    sample.info["scf_steps"] = int(steps.group(1))
    if not keep_files:
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
    bands = None
    if band_kpts is not None:
        kpts, energies = read_bands(directory / "label.bs")
        bands = ReferenceBands(kpts, energies, fermi_level)
    return Sample(structure, basis, matrices["KS"], matrices["S"], info, bands)


def _write_input(structure: Structure, symbols: list[str], settings: Cp2kSettings, band_kpts) -> str:
    """CP2K's input file."""
    n = settings.kpoints
    shift = [0.5 if points > 1 else 0.0 for points in n]
    vector = "{:.14f} {:.14f} {:.14f}".format
    matrices = "".join(
        f"&{tag}_CSR_WRITE ON\n REAL_SPACE T\n THRESHOLD {settings.threshold}\n &EACH\n  QS_SCF 0\n &END\n&END\n"
        for tag in ("KS", "S")
    )
    bands = ""
    if band_kpts is not None:
        points = "\n".join("SPECIAL_POINT " + vector(*k) for k in np.asarray(band_kpts, dtype=float))
        bands = (
            f"&BAND_STRUCTURE\n ADDED_MOS {settings.added_mos}\n FILE_NAME label.bs\n"
            f"&KPOINT_SET\n UNITS B_VECTOR\n NPOINTS 1\n{points}\n&END\n&END\n"
        )
    kinds = "".join(
        f"&KIND {s}\n BASIS_SET {settings.basis[s]}\n POTENTIAL {settings.potential[s]}\n&END\n" for s in sorted(set(symbols))
    )
    cell = "\n".join(f" {name} {vector(*row)}" for name, row in zip("ABC", structure.cell, strict=True))
    coordinates = "\n".join(f" {s} {vector(*p)}" for s, p in zip(symbols, structure.positions, strict=True))
    return f"""&GLOBAL
 PROJECT label
 RUN_TYPE ENERGY
 PRINT_LEVEL MEDIUM
&END
&FORCE_EVAL
METHOD QS
&DFT
 BASIS_SET_FILE_NAME {settings.basis_file}
 POTENTIAL_FILE_NAME GTH_POTENTIALS
&QS
 EPS_DEFAULT {settings.eps_default}
&END
&MGRID
 CUTOFF {settings.cutoff}
 REL_CUTOFF {settings.rel_cutoff}
&END
&XC
&XC_FUNCTIONAL {settings.xc}
&END
&END
&KPOINTS
 SCHEME MACDONALD {n[0]} {n[1]} {n[2]} {shift[0]} {shift[1]} {shift[2]}
 SYMMETRY F
 FULL_GRID F
&END
&SCF
 SCF_GUESS ATOMIC
 EPS_SCF {settings.eps_scf}
 MAX_SCF {settings.max_scf}
 ADDED_MOS {settings.added_mos}
 &DIAGONALIZATION
 &END
 &MIXING
  METHOD BROYDEN_MIXING
  ALPHA 0.3
  BETA 0.5
  NBROYDEN 8
 &END
 &SMEAR
  METHOD FERMI_DIRAC
  ELECTRONIC_TEMPERATURE {settings.electronic_temperature}
 &END
 &PRINT
  &RESTART OFF
  &END
 &END
&END
&PRINT
{matrices}{bands}&END
&END
&SUBSYS
&CELL
{cell}
 PERIODIC XYZ
&END
&COORD
{coordinates}
&END
{kinds}&END
&END
"""
