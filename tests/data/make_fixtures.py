"""Recompute the CP2K labels of the tests (five minutes on one core):

    python tests/data/make_fixtures.py [graphene mos2 displacement] [--out tests/data]

graphene_cp2k.h5: displaced, a two-atom graphene cell with the atoms moved by up to 0.1 A; rotated, the same crystal
turned in space; perfect, the undistorted primitive cell. mos2_cp2k.h5: the primitive cell of monolayer MoS2, Mo in a
basis without its most diffuse Gaussian and without f, so that the file stays small. Bands are CP2K's own.
graphene_displacement.h5: the primitive cell with atom 0 at +-0.02 A along x, in the settings of the embedded model.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.build import graphene, mx2
from scipy.spatial.transform import Rotation

from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.labels.cp2k import Cp2kSettings, compute_labels

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))
from prepare_mos2 import compact_basis
from prepare_mos2 import settings as mos2_settings

KINDS = ["graphene", "mos2", "displacement"]
ROTATION = Rotation.from_rotvec([0.4, -0.7, 0.9]).as_matrix()
BAND_KPTS = np.array([[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0], [0.17, 0.41, 0], [-0.3, 0.1, 0.2]])
# Multiples of these are stored, so that compression works; CP2K writes energies to 1e-6 eV.
DISPLACEMENT = 0.02  # Angstrom
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
        basis_file = Path(folder) / "BASIS"
        basis_file.write_text(compact_basis())
        settings = replace(mos2_settings((3, 3, 1), basis_file), gamma_centred=True, eps_default=1e-12, eps_scf=1e-7)
        sample = compute_labels(atoms, settings, band_kpts=BAND_KPTS[:5])
    sample.info["settings"]["basis_file"] = "BASIS_MOLOPT, Mo without its last exponent and without f"
    return round_sample(sample)


def compute_displacement() -> dict[str, Sample]:
    """Graphene with atom 0 displaced, by the settings of training/prepare_graphene.py."""
    found = {}
    for name, step in (("ahead", DISPLACEMENT), ("back", -DISPLACEMENT)):
        atoms = graphene(a=2.46, vacuum=None)
        atoms.cell[2] = [0, 0, 10.0]
        atoms.pbc = True
        atoms.positions[0, 0] += step
        found[name] = round_sample(compute_labels(atoms, Cp2kSettings((12, 12, 1))), coarser=16)
    return found


def round_sample(sample: Sample, coarser: int = 1) -> Sample:
    """H and S on the steps that are stored, or on multiples of them."""
    rounded = {
        name: replace(getattr(sample, name), values=step * np.rint(getattr(sample, name).values / step))
        for name, step in (("hamiltonian", coarser * STEP_HAMILTONIAN), ("overlap", coarser * STEP_OVERLAP))
    }
    return replace(sample, **rounded)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if "graphene" in options.which:
        with StoreWriter(options.out / "graphene_cp2k.h5", {"rotation": ROTATION.tolist()}) as store:
            for name, atoms in make_graphene().items():
                store.add(name, compute_labels(atoms, Cp2kSettings((6, 6, 1)), band_kpts=BAND_KPTS))
    if "mos2" in options.which:
        with StoreWriter(options.out / "mos2_cp2k.h5", {}) as store:
            store.add("primitive", compute_mos2())
    if "displacement" in options.which:
        with StoreWriter(options.out / "graphene_displacement.h5", {"displacement": DISPLACEMENT}) as store:
            for name, sample in compute_displacement().items():
                store.add(name, sample)


if __name__ == "__main__":
    main()
