"""Make the silicon data set: CP2K labels of every structure in silicon_structures.py, packed into one file.

    python training/prepare_silicon.py [--out training/data/silicon] [--workers N]

CP2K's own DZVP-MOLOPT-SR-GTH basis, 13 orbitals. Interrupted at will, the same command goes on. Needs CP2K
(apt-get install cp2k cp2k-data).
"""

import argparse
import logging
from pathlib import Path

from label_rules import FACE_CENTRED
from label_sets import make_label_set
from silicon_structures import N_2X1X1, N_2X2X2, make_structures

from ase_tracegrad.labels.cp2k import Cp2kSettings


def settings(kpoints: tuple[int, int, int]) -> Cp2kSettings:
    """What CP2K is told; the pseudopotential of silicon is soft and asks for a coarser grid than that of carbon."""
    return Cp2kSettings(
        kpoints,
        cutoff=200.0,
        rel_cutoff=40.0,
        eps_default=1e-10,
        eps_scf=1e-6,
        mixing_alpha=0.4,
        mixing_beta=0.1,
        mixing_history=12,
        basis={"Si": "DZVP-MOLOPT-SR-GTH-q4"},
        potential={"Si": "GTH-PBE-q4"},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "silicon")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument("--n-2x1x1", type=int, default=N_2X1X1)
    parser.add_argument("--n-2x2x2", type=int, default=N_2X2X2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    structures = make_structures(options.n_2x1x1, options.n_2x2x2)
    make_label_set(options.out / "silicon.h5", structures, settings, options.workers, FACE_CENTRED)


if __name__ == "__main__":
    main()
