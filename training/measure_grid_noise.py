"""How much the labels' bands owe to CP2K's grid and thresholds and not to physics: no model can be better than that.

    python training/measure_grid_noise.py silicon --out benchmarks/results/silicon_grid_noise.json

The first displaced cell of the set, at several random offsets; the standard deviation of each state's energy below E_F + 3 eV
over the offsets, meV, rms over the states; and the same of the difference from a run with twice the cutoff and tighter thresholds.
The zero of energy is kept.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import prepare_silicon
import silicon_structures
from ase import Atoms
from label_rules import FACE_CENTRED, band_path

from ase_tracegrad.io.sample import ReferenceBands
from ase_tracegrad.labels.cp2k import Cp2kSettings, compute_labels
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
    told = settings(chosen.kpoints)
    tight = replace(told, cutoff=2 * told.cutoff, rel_cutoff=1.5 * told.rel_cutoff, eps_default=1e-13, eps_scf=1e-8)
    rng, energies = np.random.default_rng(7), []
    for number in range(options.offsets):
        atoms = chosen.atoms.copy()
        atoms.positions += rng.uniform(0, 0.5, 3)  # Angstrom, more than a step of the grid
        energies.append(label_bands(atoms, told, corners).energies)
        print(f"offset {number + 1} of {options.offsets}", flush=True)
    exact = label_bands(chosen.atoms, tight, corners)
    counted = exact.energies < exact.fermi_level + ABOVE_FERMI
    result = {
        "structure": chosen.name,
        "offsets": options.offsets,
        "grid": summarise(np.std(energies, axis=0, ddof=1)[counted]),
        "settings": summarise((energies[0] - exact.energies)[counted]),
    }
    replace_text(options.out, json.dumps(result, indent=1) + "\n")
    print(result)


def label_bands(atoms: Atoms, settings: Cp2kSettings, corners: np.ndarray) -> ReferenceBands:
    """CP2K's bands, eV, along the path through corners."""
    return compute_labels(atoms=atoms, settings=settings, band_kpts=band_path(corners)).bands


def summarise(differences: np.ndarray) -> dict[str, float]:
    """eV in, rms and largest in meV out."""
    return {"rms_mev": 1000 * float(np.sqrt((differences**2).mean())), "largest_mev": 1000 * float(np.abs(differences).max())}


if __name__ == "__main__":
    main()
