"""Recompute the CP2K labels of the tests (five minutes on one core):

    python tests/data/make_fixtures.py [graphene mos2] [--out tests/data]

graphene_cp2k.h5: displaced, a two-atom graphene cell with the atoms moved by up to 0.1 A; rotated, the same crystal
turned in space; perfect, the undistorted primitive cell. mos2_cp2k.h5: the primitive cell of monolayer MoS2, Mo in a
basis without its most diffuse Gaussian and without f, so that the file stays small. Bands are CP2K's own.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.build import graphene, mx2
from scipy.spatial.transform import Rotation

from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.labels.cp2k import Cp2kSettings, compute_labels, find_cp2k

ROTATION = Rotation.from_rotvec([0.4, -0.7, 0.9]).as_matrix()
BAND_KPTS = np.array([[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0], [0.17, 0.41, 0], [-0.3, 0.1, 0.2]])
COMPACT = "DZVP-MOLOPT-SR-GTH-COMPACT-q14"
# Multiples of these are stored, so that compression works; CP2K writes energies to 1e-6 eV.
STEP_HAMILTONIAN, STEP_OVERLAP = 2.0**-24, 2.0**-32


def make_graphene() -> dict:
    """The three crystals as ase.Atoms."""
    perfect = graphene(a=2.46, vacuum=None)
    perfect.cell[2] = [0, 0, 10.0]
    perfect.pbc = True
    displaced = perfect.copy()
    displaced.positions += np.random.default_rng(7).uniform(-0.1, 0.1, (2, 3))
    rotated = displaced.copy()
    rotated.set_cell(displaced.cell.array @ ROTATION.T)
    rotated.positions = displaced.positions @ ROTATION.T
    return {"displaced": displaced, "rotated": rotated, "perfect": perfect}


def compute_mos2() -> Sample:
    """The label of monolayer MoS2, Mo at the origin."""
    atoms = mx2("MoS2", a=3.18, thickness=3.13, vacuum=None)
    atoms.cell[2] = [0, 0, 15.0]
    atoms.pbc = True
    atoms.positions -= atoms.positions[0]
    with tempfile.TemporaryDirectory() as folder:
        settings = Cp2kSettings(
            (3, 3, 1),
            gamma_centred=True,
            cutoff=280.0,
            rel_cutoff=40.0,
            basis_file=str(write_compact_basis(Path(folder) / "BASIS")),
            basis={"Mo": COMPACT, "S": "DZVP-MOLOPT-SR-GTH-q6"},
            potential={"Mo": "GTH-PBE-q14", "S": "GTH-PBE-q6"},
        )
        sample = compute_labels(atoms, settings, band_kpts=BAND_KPTS[:5])
    sample.info["settings"]["basis_file"] = "BASIS_MOLOPT, Mo without its last exponent and without f"
    rounded = {
        name: replace(getattr(sample, name), values=step * np.rint(getattr(sample, name).values / step))
        for name, step in (("hamiltonian", STEP_HAMILTONIAN), ("overlap", STEP_OVERLAP))
    }
    return replace(sample, **rounded)


def write_compact_basis(path: Path) -> Path:
    """CP2K's basis of S, and that of Mo less its last exponent (0.053) and its f functions."""
    lines = (find_cp2k()[1] / "BASIS_MOLOPT").read_text().splitlines()

    def take(symbol: str, name: str) -> list[str]:
        first = next(n for n, line in enumerate(lines) if line.split()[:1] == [symbol] and name in line.split())
        return lines[first : first + 3 + int(lines[first + 2].split()[3])]

    molybdenum = take("Mo", "DZVP-MOLOPT-SR-GTH-q14")
    n, _, _, exponents, *functions = molybdenum[2].split()  # functions of l = 0, 1, 2, 3
    shape = f"{n} 0 2 {int(exponents) - 1} {' '.join(functions[:3])}"
    columns = 1 + sum(int(f) for f in functions[:3])
    rows = [" ".join(line.split()[:columns]) for line in molybdenum[3:-1]]
    path.write_text("\n".join([f"Mo {COMPACT}", molybdenum[1], shape, *rows, *take("S", "DZVP-MOLOPT-SR-GTH-q6")]) + "\n")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=["graphene", "mos2"], default=["graphene", "mos2"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if "graphene" in options.which:
        with StoreWriter(options.out / "graphene_cp2k.h5", {"rotation": ROTATION.tolist()}) as store:
            for name, atoms in make_graphene().items():
                store.add(name, compute_labels(atoms, Cp2kSettings((6, 6, 1)), band_kpts=BAND_KPTS))
    if "mos2" in options.which:
        with StoreWriter(options.out / "mos2_cp2k.h5", {}) as store:
            store.add("primitive", compute_mos2())


if __name__ == "__main__":
    main()
