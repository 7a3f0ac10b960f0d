"""Do the labels of a packed file give the DFT code's own bands, and the basis alone its S? Writes the largest differences.

python training/check_labels.py training/data/mos2/mos2.h5 --out benchmarks/results/mos2_labels.json
"""

import argparse
import json
from pathlib import Path

import numpy as np
from label_rules import ABOVE_FERMI
from tqdm.auto import tqdm

from ase_tracegrad import compute_bands, compute_overlap
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader, content_hash
from ase_tracegrad.replace_file import replace_text


def compare(sample: Sample, every: int) -> tuple[float, float]:
    """(largest |dE| in meV up to E_F + ABOVE_FERMI at every ``every``-th stored k-point, largest |dS|)."""
    reference = sample.bands.energies[::every]
    energies = compute_bands(sample.hamiltonian, sample.overlap, sample.bands.kpts[::every])[:, : reference.shape[1]]
    counted = reference < sample.info["fermi_level"] + ABOVE_FERMI
    overlap = compute_overlap(sample.structure, sample.basis).restricted_to(sample.overlap)
    return 1000 * float(np.abs(energies - reference)[counted].max()), float(np.abs(overlap.values - sample.overlap.values).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=6, help="of the stored k-points")
    options = parser.parse_args()
    with StoreReader(options.data) as store:
        rows = {name: compare(store[name], options.every) for name in tqdm(store.names, disable=None)}
        digest = content_hash(store)
    result = {
        "data_sha256": digest,
        "structures": len(rows),
        "largest_band_difference_mev": max(bands for bands, _ in rows.values()),
        "largest_overlap_difference": max(overlap for _, overlap in rows.values()),
        "rows": rows,
    }
    replace_text(options.out, json.dumps(result, indent=1) + "\n")
    print({key: value for key, value in result.items() if key != "rows"})


if __name__ == "__main__":
    main()
