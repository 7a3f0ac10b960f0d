"""Add the Hamiltonian of the initial density to the molecules of a packed file, for networks with network.reference: minao.

python training/add_references.py training/data/qh9-like/qh9-like.h5 training/data/qh9-like/qh9-like-delta.h5
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm.auto import tqdm

from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.labels.initial_hamiltonian import initial_hamiltonian


def with_reference(path: Path, name: str) -> Sample:
    """A sample of a packed file, with the Hamiltonian of its initial density."""
    with StoreReader(path) as store:
        sample = store[name]
    return replace(sample, reference=initial_hamiltonian(sample.structure, sample.basis))


def add_references(old: Path, new: Path, workers: int | None = None):
    """Write ``new``, which holds the samples of ``old`` and their references; it appears when all are there."""
    with StoreReader(old) as store, StoreWriter(new, store.info) as out, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        found = pool.map(partial(with_reference, old), store.names, chunksize=8)
        for name, sample in tqdm(zip(store.names, found, strict=True), total=len(store), desc="references", disable=None):
            out.add(name, sample)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    options = parser.parse_args()
    add_references(options.old, options.new, options.workers)


if __name__ == "__main__":
    main()
