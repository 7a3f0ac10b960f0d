"""Add the Hamiltonian of the initial density to the molecules of a packed file, for networks with network.reference: minao.

python training/add_references.py training/data/qh9-like/qh9-like.h5 training/data/qh9-like/qh9-like-delta.h5

Interrupted at will, the same command goes on.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader, StoreWriter, content_hash
from ase_tracegrad.labels.campaign import LabelJob, label_path, run_campaign
from ase_tracegrad.labels.initial_hamiltonian import initial_hamiltonian


def with_reference(path: Path, name: str) -> Sample:
    """A sample of a packed file, with the Hamiltonian of its initial density."""
    with StoreReader(path) as store:
        sample = store[name]
    return replace(sample, reference=initial_hamiltonian(sample.structure, sample.basis))


def add_references(old: Path, new: Path, workers: int | None = None):
    """Write ``new``, the samples of ``old`` with their references; until all are there, each waits in a folder beside it.

    Raises SystemExit with the first failure.
    """
    with StoreReader(old) as store:
        parts = new.with_name(f"{new.name}.{content_hash(store)[:12]}.parts")  # those of other molecules are not taken
        jobs = [LabelJob(name, with_reference, {"path": old, "name": name}, {}) for name in store.names]
        rows = run_campaign(jobs, parts, workers=workers)
        failed = [row for row in rows if not row["ok"]]
        if failed:
            raise SystemExit(f"{len(failed)} of {len(rows)} molecules failed, the first, {failed[0]['name']}: {failed[0]['error']}")
        with StoreWriter(new, store.info) as out:
            for name in store.names:
                with StoreReader(label_path(parts, name)) as part:
                    out.append(part)
    shutil.rmtree(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    options = parser.parse_args()
    add_references(options.old, options.new, options.workers)


if __name__ == "__main__":
    main()
