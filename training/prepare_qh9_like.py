"""Make a set like QH9: PySCF labels of every structure in qh9_structures.py, as a QH9 database and as one packed file.

    python training/prepare_qh9_like.py [--out training/data/qh9-like] [--workers N] [--limit N] [--dry-run]
    python training/prepare_qh9_like.py --molecules mine.smi conformers.xyz --out training/data/mine

Writes labels/NAME.h5 (one each; failures as NAME.failed.json), qh9-like.db (exactly QH9Stable.db's schema), qh9-like.h5 (for
tracegrad train, with the splits) and manifest.json (settings, versions, hashes, the ids of the database, a row per structure).
Interrupted at will, the same command goes on. Needs pip install 'ase_tracegrad[molecules]' (RDKit unless --no-smiles).
"""

import argparse
import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from label_sets import pack
from qh9_structures import MoleculeStructure, make_structures, structures_of_files

from ase_tracegrad.io.qh9_rows import open_rows
from ase_tracegrad.io.qh9_writer import QH9Writer
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.labels.campaign import LabelJob, label_path, run_campaign
from ase_tracegrad.labels.pyscf import QH9_SETTINGS, compute_molecule_labels

SETTINGS = replace(QH9_SETTINGS, start_grid_level=0)  # the labels of QH9, a quarter cheaper

# CPU seconds of one label by heavy atoms; measured on a busy core: H2O 0.5, C2H5OH 6, isobutane 15, benzene 12, indole 41.
SECONDS = {0: 0.2, 1: 0.6, 2: 2.0, 3: 5.0, 4: 9.0, 5: 12.0, 6: 15.0, 7: 22.0, 8: 32.0, 9: 45.0}


def make_qh9_like(out: Path, structures: Sequence[MoleculeStructure], workers: int | None = None):
    """Run what is missing; write the database and the packed file of what is finished, in the order of the structures.

    Raises SystemExit with the first failure when a structure has no label.
    """
    jobs = [
        LabelJob(
            item.name,
            compute_molecule_labels,
            {"atoms": item.atoms, "settings": SETTINGS},
            {"split": item.split, "seed": item.seed, "source": item.source, "temperature": item.temperature},
        )
        for item in structures
    ]
    rows = run_campaign(jobs, out / "labels", workers=workers)
    finished = [row["name"] for row in rows if row["ok"]]
    if finished:
        write_database(out, finished)
        facts = {"ids": dict(zip(finished, range(len(finished)), strict=True)), "database_sha256": hash_rows(database_path(out))}
        pack(out / "qh9-like.h5", finished, rows, facts)
    failed = [row for row in rows if not row["ok"]]
    if failed:
        raise SystemExit(
            f"{len(failed)} of {len(rows)} structures failed, the first, {failed[0]['name']}, with {failed[0]['error']}. "
            "The others are packed. Run again to retry."
        )


def database_path(out: Path) -> Path:
    """The QH9 database of a set."""
    return out / "qh9-like.db"


def write_database(out: Path, names: Sequence[str]):
    """The finished labels as a QH9 database, with ids from 0 without gaps as QH9's own code asks for."""
    with QH9Writer(database_path(out)) as database:
        for number, name in enumerate(names):
            with StoreReader(label_path(out / "labels", name)) as reader:
                database.add(number, reader[name])


def hash_rows(path: Path) -> str:
    """SHA-256 of the rows of a QH9 database, whatever SQLite made of its pages."""
    digest, rows = hashlib.sha256(), open_rows(path)
    for number in range(len(rows)):
        for value in rows[number].values():
            digest.update(value if isinstance(value, bytes) else repr(value).encode())
    rows.close()
    return digest.hexdigest()


def describe(structures: Sequence[MoleculeStructure]) -> str:
    """How many structures of each size and split, and what they cost."""
    sizes = Counter(item.heavy for item in structures)
    lines = ["heavy atoms: " + ", ".join(f"{heavy}: {count}" for heavy, count in sorted(sizes.items()))]
    lines.append("splits: " + ", ".join(f"{split}: {count}" for split, count in Counter(s.split for s in structures).items()))
    hours = sum(count * SECONDS[min(heavy, max(SECONDS))] for heavy, count in sizes.items()) / 3600
    return "\n".join([*lines, f"{len(structures)} structures, about {hours:.1f} CPU hours"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "qh9-like")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument("--limit", type=int, default=None, help="only the first N structures, a mixture of all sizes")
    parser.add_argument("--heavy", type=int, default=None, help="only molecules of at most N heavy atoms")
    parser.add_argument("--molecules", type=Path, nargs="+", help="your own: .smi files of SMILES, files that ASE reads")
    parser.add_argument("--no-smiles", action="store_true", help="only ASE's g2 molecules, for which RDKit is not needed")
    parser.add_argument("--dry-run", action="store_true", help="say what would be computed and what it costs")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.molecules:
        structures = structures_of_files(options.molecules)
    else:
        structures = make_structures({}) if options.no_smiles else make_structures()
    if options.heavy is not None:
        structures = [item for item in structures if item.heavy <= options.heavy]
    structures = structures[: options.limit]
    print(describe(structures), flush=True)
    if not options.dry_run:
        make_qh9_like(options.out, structures, options.workers)


if __name__ == "__main__":
    main()
