"""How much the labels' bands depend on where a structure lies against CP2K's grid: no model can be better than that.

    python training/measure_grid_noise.py silicon --out benchmarks/results/silicon_grid_noise.json

The first displaced cell of the set, at several random offsets; the standard deviation of each state's energy below E_F + 3 eV
over the offsets, meV, rms over the states. The zero of energy is kept.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import prepare_silicon
import silicon_structures
from label_rules import FACE_CENTRED, band_path

from ase_tracegrad.labels.cp2k import compute_labels
from ase_tracegrad.replace_file import replace_text

SETS = {"silicon": (silicon_structures.make_structures, prepare_silicon.settings, FACE_CENTRED)}
ABOVE_FERMI = 3.0  # eV


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--offsets", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    make_structures, settings, corners = SETS[options.set]
    chosen = next(item for item in make_structures() if item.seed)
    rng, energies = np.random.default_rng(7), []
    for number in range(options.offsets):
        atoms = chosen.atoms.copy()
        atoms.positions += rng.uniform(0, 0.5, 3)  # Angstrom, more than a step of the grid
        label = compute_labels(atoms=atoms, settings=settings(chosen.kpoints), band_kpts=band_path(corners))
        energies.append(label.bands.energies)
        print(f"offset {number + 1} of {options.offsets}", flush=True)
    found = np.array(energies)
    counted = found[0] < label.info["fermi_level"] + ABOVE_FERMI
    noise = 1000 * found.std(axis=0, ddof=1)[counted]
    result = {
        "structure": chosen.name,
        "offsets": options.offsets,
        "rms_mev": float(np.sqrt((noise**2).mean())),
        "largest_mev": float(noise.max()),
    }
    replace_text(options.out, json.dumps(result, indent=1) + "\n")
    print(result)


if __name__ == "__main__":
    main()
