"""How much the labels of graphene depend on the k mesh: bands of one displaced primitive cell on several meshes, against 24 x 24.

python benchmarks/label_kpoints.py        # about two minutes, needs CP2K
"""

import argparse
from pathlib import Path

import numpy as np
from ase.build import graphene
from measure import write_result

from ase_tracegrad import compute_bands
from ase_tracegrad.labels.cp2k import compute_labels
from ase_tracegrad.labels.cp2k_input import Cp2kSettings

# 9 and 15 are Gamma-centred in CP2K's Monkhorst-Pack scheme; our settings shift by half a step, so an odd mesh is given as it would
# fall on the folded points of a supercell with an even one.
MESHES = (9, 10, 12, 15, 18, 24)
KPTS = [[0, 0, 0], [1 / 3, 1 / 3, 0], [0.5, 0, 0], [0.2, 0.1, 0]]
OUT = Path(__file__).parent / "results" / "label_kpoints.json"


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    atoms = graphene(a=2.46)
    atoms.cell[2] = [0, 0, 10.0]
    atoms.pbc = True
    atoms.positions[0] += [0.03, 0.02, 0.05]
    rows = {}
    for centred in (True, False):
        for n in MESHES:
            settings = Cp2kSettings((n, n, 1), gamma_centred=centred)
            sample = compute_labels(atoms, settings)
            rows[f"{n}x{n} {'Gamma-centred' if centred else 'half-shifted'}"] = compute_bands(
                sample.hamiltonian, sample.overlap, KPTS
            )[:, :8]
    reference = rows["24x24 half-shifted"]
    result = {
        name: {"max_mev": 1000 * float(np.abs(e - reference).max()), "mean_mev": 1000 * float((e - reference).mean())}
        for name, e in rows.items()
    }
    write_result(OUT, {"kpts": KPTS, "bands": 8, "reference": "24x24 half-shifted", "meshes": result})
    for name, row in result.items():
        print(f"{name:<24} max {row['max_mev']:7.2f} meV, mean {row['mean_mev']:7.2f} meV")


if __name__ == "__main__":
    main()
