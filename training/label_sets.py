"""Label a set of structures with CP2K and pack it: labels/NAME.h5, NAME-OF-SET.h5 and manifest.json in one folder."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
from label_rules import HEXAGONAL, LabelStructure, band_path

from ase_tracegrad.io.store import StoreReader, StoreWriter, content_hash
from ase_tracegrad.labels.campaign import LabelJob, label_path, run_campaign
from ase_tracegrad.labels.cp2k import Cp2kSettings, compute_labels
from ase_tracegrad.replace_file import replace_text


def make_label_set(
    packed: Path,
    structures: list[LabelStructure],
    settings: Callable[[tuple[int, int, int]], Cp2kSettings],
    workers: int | None = None,
    corners: np.ndarray = HEXAGONAL,
):
    """Run what is missing and pack what is finished into ``packed``; settings(k mesh) is what CP2K is told.

    corners: of the path along which CP2K prints bands, fractional (see band_path).

    Raises SystemExit with the first failure when a structure has no label.
    """
    labels = packed.parent / "labels"
    jobs = [
        LabelJob(
            item.name,
            compute_labels,
            {"atoms": item.atoms, "settings": settings(item.kpoints), "band_kpts": band_path(corners)},
            {"split": item.split, "seed": item.seed},
        )
        for item in structures
    ]
    rows = run_campaign(jobs, labels, workers=workers)
    failed = [row for row in rows if not row["ok"]]
    if len(failed) < len(rows):
        pack(packed, sorted(row["name"] for row in rows if row["ok"]), rows)
    if failed:
        first = failed[0]["error"]
        raise SystemExit(f"{len(failed)} of {len(rows)} structures failed, the first with {first}. Run again to retry.")


def pack(packed: Path, names: list[str], rows: list[dict], facts: dict | None = None):
    """Pack the finished labels and write manifest.json, which holds ``facts`` too, beside the file."""
    with StoreWriter(packed) as store:
        for name in names:
            with StoreReader(label_path(packed.parent / "labels", name)) as reader:
                store.add(name, reader[name])
    with StoreReader(packed) as reader:
        first = reader[names[0]]
        manifest = {
            "structures": len(names),
            "content_sha256": content_hash(reader),
            "code": first.info["version"],
            "settings": first.info["settings"],
            "versions": {"python": platform.python_version(), "ase": ase.__version__, "numpy": np.__version__},
            **(facts or {}),
            "rows": rows,
        }
    replace_text(packed.parent / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    print(f"{packed}: {len(names)} structures, content sha256 {manifest['content_sha256'][:16]}")
