"""Recompute tests/data/graphene_cp2k.h5 with CP2K (three minutes on one core):

    python tests/data/make_fixtures.py [--out tests/data]

displaced: a two-atom graphene cell with the atoms moved by up to 0.1 A; rotated: the same crystal turned
in space; perfect: the undistorted primitive cell. Bands are CP2K's own.
"""

import argparse
from pathlib import Path

import numpy as np
from ase.build import graphene
from scipy.spatial.transform import Rotation

from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.labels.cp2k import Cp2kSettings, compute_labels

ROTATION = Rotation.from_rotvec([0.4, -0.7, 0.9]).as_matrix()
BAND_KPTS = np.array([[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0], [0.17, 0.41, 0], [-0.3, 0.1, 0.2]])


def make_structures() -> dict:
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    settings = Cp2kSettings((6, 6, 1))
    with StoreWriter(out / "graphene_cp2k.h5", {"rotation": ROTATION.tolist()}) as store:
        for name, atoms in make_structures().items():
            store.add(name, compute_labels(atoms, settings, band_kpts=BAND_KPTS))


if __name__ == "__main__":
    main()
