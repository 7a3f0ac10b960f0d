"""Write the reference file of the demo: two test structures of graphene with the bands CP2K printed.

python training/prepare_demo.py training/data/graphene/graphene.h5
"""

import argparse
import json

import numpy as np

from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.models import FOLDER
from ase_tracegrad.replace_file import replace_text

CHOSEN = {"x1-005": "primitive cell", "x3-009": "displaced, strained 3x3"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    options = parser.parse_args()
    structures = []
    with StoreReader(options.data) as store:
        for name, title in CHOSEN.items():
            sample = store[name]
            assert sample.info["split"] == "test"
            structures.append(
                {
                    "name": name,
                    "title": title,
                    "numbers": sample.structure.numbers.tolist(),
                    "positions": np.round(sample.structure.positions, 12).tolist(),
                    "cell": np.round(sample.structure.cell, 12).tolist(),
                    "pbc": sample.structure.pbc.tolist(),
                    "kpts": np.round(sample.bands.kpts, 8).tolist(),
                    "special_points": {"G": [0, 0, 0], "M": [0.5, 0, 0], "K": [1 / 3, 1 / 3, 0]},
                    "path": "GMKG",
                    "energies": np.round(sample.bands.energies, 7).tolist(),
                    "fermi_level": sample.bands.fermi_level,
                }
            )
    path = FOLDER / "graphene-pbe-reference.json"
    replace_text(path, json.dumps({"code": sample.info["version"], "structures": structures}, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
