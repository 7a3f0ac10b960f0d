"""How much the labels' bands owe to CP2K's grid and thresholds and not to physics: no model can be better than that.

    python training/measure_label_noise.py DATA --structure NAME --out benchmarks/results/silicon_label_noise.json

A structure of a packed file is computed anew with the settings stored with it, at several random offsets against the grid ('grid':
standard deviation of each state over the offsets), and with twice the cutoff and tighter thresholds ('settings': difference
of the label from it). States below E_F + 3 eV on the stored path, meV; the zero of energy is kept. A file that holds others
is added to.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from label_rules import ABOVE_FERMI

from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.labels.cp2k import Cp2kSettings, compute_labels
from ase_tracegrad.replace_file import replace_text


def compute_bands_again(sample: Sample, settings: Cp2kSettings, offset=(0.0, 0.0, 0.0)) -> np.ndarray:
    """CP2K's bands (K, n), eV, of the structure moved by ``offset`` (Angstrom)."""
    atoms = sample.atoms
    atoms.positions += offset
    return compute_labels(atoms=atoms, settings=settings, band_kpts=sample.bands.kpts).bands.energies


def measure(sample: Sample, offsets: int) -> dict:
    """{'grid', 'settings': {'rms_mev', 'largest_mev'}}."""
    told = Cp2kSettings(**sample.info["settings"])
    tight = replace(told, cutoff=2 * told.cutoff, rel_cutoff=1.5 * told.rel_cutoff, eps_default=1e-13, eps_scf=1e-8)
    rng, moved = np.random.default_rng(7), []
    for number in range(offsets):
        moved.append(compute_bands_again(sample, told, rng.uniform(0, 0.5, 3)))  # more than a step of the grid
        print(f"offset {number + 1} of {offsets}", flush=True)
    exact = compute_bands_again(sample, tight)
    counted = exact < sample.info["fermi_level"] + ABOVE_FERMI
    spread, error = np.std(moved, axis=0, ddof=1), sample.bands.energies - exact
    return {"grid": summarise(spread[counted]), "settings": summarise(error[counted])}


def summarise(differences: np.ndarray) -> dict[str, float]:
    """eV in, rms and largest in meV out."""
    return {"rms_mev": 1000 * float(np.sqrt((differences**2).mean())), "largest_mev": 1000 * float(np.abs(differences).max())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--structure", required=True)
    parser.add_argument("--offsets", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with StoreReader(options.data) as store:
        sample = store[options.structure]
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    known[options.structure] = {"data": options.data.name, "offsets": options.offsets, **measure(sample, options.offsets)}
    replace_text(options.out, json.dumps(known, indent=1) + "\n")
    print(options.structure, known[options.structure])


if __name__ == "__main__":
    main()
