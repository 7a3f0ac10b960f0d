"""Label displaced MoS2 supercells at 300 K by CP2K: what benchmarks/thermal_validation.py compares the model with.

    python training/prepare_mos2_thermal.py [--pairs 5] [--out training/data/mos2_300K]

Pairs u, -u of 2x2 cells from the phonons in examples/mos2_phonopy.yaml; none of them is in the training set. About 80 CPU seconds
each; interrupted at will, the same command goes on. Needs CP2K.
"""

import argparse
import logging
from functools import partial
from pathlib import Path

from label_rules import LabelStructure
from label_sets import make_label_set
from mos2_structures import K_DENSITY
from prepare_mos2 import compact_basis, settings

from ase_tracegrad.replace_file import replace_text
from ase_tracegrad.thermal.ensemble import draw_displacements
from ase_tracegrad.thermal.harmonic import HarmonicCrystal
from ase_tracegrad.thermal.phonons import load_phonons

PHONONS = Path(__file__).parents[1] / "examples" / "mos2_phonopy.yaml"
TEMPERATURE, N, SEED = 300.0, 2, 2026


def make_structures(n_pairs: int) -> list[LabelStructure]:
    """The displaced cells, in pairs."""
    crystal = HarmonicCrystal.from_phonons(load_phonons(PHONONS), (N, N, 1))
    mesh = (K_DENSITY // N, K_DENSITY // N, 1)
    return [
        LabelStructure(f"T{TEMPERATURE:g}-{number:03d}", "test", crystal.displace(u), mesh, [SEED, number // 2])
        for number, u in enumerate(draw_displacements(crystal, TEMPERATURE, n_pairs, seed=SEED))
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "mos2_300K")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    basis_file = options.out / "BASIS"
    replace_text(basis_file, compact_basis())
    told = partial(settings, basis_file=basis_file)
    make_label_set(options.out / "mos2_300K.h5", make_structures(options.pairs), told, options.workers)


if __name__ == "__main__":
    main()
