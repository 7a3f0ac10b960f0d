"""Make the graphene data set: CP2K labels of every structure in graphene_structures.py, packed into one file.

    python training/prepare_graphene.py [--out training/data/graphene] [--workers N]

About 5 CPU hours; interrupted at will, the same command goes on. Needs CP2K (apt-get install cp2k cp2k-data).
"""

import argparse
import json
import logging
import platform
from pathlib import Path

import ase
import numpy as np
from graphene_structures import N_2X2, N_3X3, band_path, make_structures

from ase_tracegrad.fit.dataset import content_hash
from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.labels.campaign import LabelJob, label_path, run_campaign
from ase_tracegrad.labels.cp2k import Cp2kSettings, compute_labels
from ase_tracegrad.replace_file import replace_text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "graphene")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument("--n-2x2", type=int, default=N_2X2)
    parser.add_argument("--n-3x3", type=int, default=N_3X3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    structures = make_structures(options.n_2x2, options.n_3x3)
    jobs = [
        LabelJob(
            item.name,
            compute_labels,
            {"atoms": item.atoms, "settings": Cp2kSettings(item.kpoints), "band_kpts": band_path()},
            {"split": item.split, "seed": item.seed},
        )
        for item in structures
    ]
    rows = run_campaign(jobs, options.out / "labels", workers=options.workers)
    failed = [row for row in rows if not row["ok"]]
    if len(failed) < len(rows):
        pack(options.out, sorted(row["name"] for row in rows if row["ok"]), rows)
    if failed:
        first = failed[0]["error"]
        raise SystemExit(f"{len(failed)} of {len(rows)} structures failed, the first with {first}. Run again to retry.")


def pack(out: Path, names: list[str], rows: list[dict]):
    """Pack the finished labels into graphene.h5 and write manifest.json beside it."""
    packed = out / "graphene.h5"
    with StoreWriter(packed) as store:
        for name in names:
            with StoreReader(label_path(out / "labels", name)) as reader:
                store.add(name, reader[name])
    with StoreReader(packed) as reader:
        first = reader[names[0]]
        manifest = {
            "structures": len(names),
            "content_sha256": content_hash(reader),
            "code": first.info["version"],
            "settings": first.info["settings"],
            "versions": {"python": platform.python_version(), "ase": ase.__version__, "numpy": np.__version__},
            "rows": rows,
        }
    replace_text(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    print(f"{packed}: {len(names)} structures, content sha256 {manifest['content_sha256'][:16]}")


if __name__ == "__main__":
    main()
