"""Make the graphene data set: CP2K labels of every structure in graphene_structures.py, packed into one file.

    python training/prepare_graphene.py [--out training/data/graphene] [--workers N]

About 5 CPU hours; interrupted at will, the same command goes on. Needs CP2K (apt-get install cp2k cp2k-data).
"""

import argparse
import logging
from pathlib import Path

from graphene_structures import N_2X2, N_3X3, make_structures
from label_sets import make_label_set

from ase_tracegrad.labels.cp2k import Cp2kSettings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "graphene")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument("--n-2x2", type=int, default=N_2X2)
    parser.add_argument("--n-3x3", type=int, default=N_3X3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_label_set(options.out / "graphene.h5", make_structures(options.n_2x2, options.n_3x3), Cp2kSettings, options.workers)


if __name__ == "__main__":
    main()
