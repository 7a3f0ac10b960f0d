"""How far the bands move when H is cut at a distance and S is not: what a network with that cutoff cannot do better.

    python training/measure_cutoff.py training/data/silicon/silicon.h5 --cutoffs 8 9 10 --out benchmarks/results/silicon_cutoff.json

Bands along the printed path, states below E_F + 3 eV as in ``tracegrad evaluate``; rms and largest of each structure, meV.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from label_rules import ABOVE_FERMI

from ase_tracegrad import compute_bands
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.replace_file import replace_text


def shift_bands(sample, cutoff: float) -> np.ndarray:
    """Energies with H cut at ``cutoff`` (Angstrom) less those with all of it, meV, states below E_F + 3 eV."""
    kpts = sample.bands.kpts
    hamiltonian = sample.hamiltonian
    near = hamiltonian.distances(sample.structure.positions, sample.structure.cell) < cutoff
    whole = compute_bands(hamiltonian, sample.overlap, kpts)
    cut = compute_bands(hamiltonian.cut(near), sample.overlap, kpts)
    return 1000 * (cut - whole)[whole < sample.info["fermi_level"] + ABOVE_FERMI]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a packed file")
    parser.add_argument("--cutoffs", type=float, nargs="+", required=True, help="Angstrom")
    parser.add_argument("--limit", type=int, default=6, help="structures, the first of the file")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    result: dict = {"data": options.data.name, "structures": [], "cutoffs": {str(cutoff): [] for cutoff in options.cutoffs}}
    with StoreReader(options.data) as store:
        for name in store.names[: options.limit]:
            result["structures"].append(name)
            for cutoff in options.cutoffs:
                moved = shift_bands(store[name], cutoff)
                row = {"rms_mev": float(np.sqrt((moved**2).mean())), "largest_mev": float(np.abs(moved).max())}
                result["cutoffs"][str(cutoff)].append(row)
                print(name, cutoff, row, flush=True)
    replace_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
