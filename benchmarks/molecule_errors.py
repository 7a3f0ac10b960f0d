"""Errors of models of molecules on molecules that none has seen: the measures of QH9, by split.

    python benchmarks/molecule_errors.py MODEL [MODEL ...] [--data training/data/qh9-like/qh9-like-delta.h5] [--splits test larger]

H: mean absolute error of all, on-site (diagonal) and off-site blocks; epsilon, psi: energies of and cosines with the occupied
orbitals; HOMO, LUMO; means over the molecules, and medians, which single failures do not move. Energies in microhartree; seconds
per molecule are CPU seconds of the prediction of H, the initial density of a 'delta' model included.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads

import numpy as np
import torch
from measure import describe_machine, write_result

from ase_tracegrad.fit.metrics import hamiltonian_error
from ase_tracegrad.fit.orbital_errors import orbital_errors
from ase_tracegrad.io.store import StoreReader, content_hash
from ase_tracegrad.nn.predictor import Predictor, load_model
from ase_tracegrad.units import HARTREE

MICROHARTREE = 1000 / HARTREE  # in a meV
DATA = Path(__file__).parents[1] / "training" / "data" / "qh9-like" / "qh9-like-delta.h5"


def measure_molecule(predictor: Predictor, sample) -> dict[str, float]:
    """The figures of one molecule."""
    start = time.process_time()
    (predicted,) = predictor.predict([sample.structure], [sample.overlap])
    seconds = time.process_time() - start
    elements, orbitals = hamiltonian_error(predicted, sample), orbital_errors(predicted, sample)
    figures = {"h_all": elements.all, "h_onsite": elements.onsite, "h_offsite": elements.offsite}
    figures |= {key: orbitals[key] for key in ("epsilon", "homo", "lumo")}
    scaled = {key: MICROHARTREE * value for key, value in figures.items()}
    return scaled | {"psi": orbitals["psi"], "seconds": seconds, "atoms": len(sample.structure)}


def summarize(rows: list[dict]) -> dict:
    """Means and medians over the molecules."""
    keys = [key for key in rows[0] if key != "atoms"]
    return {
        "molecules": len(rows),
        "atoms": float(np.mean([row["atoms"] for row in rows])),
        "mean": {key: float(np.mean([row[key] for row in rows])) for key in keys},
        "median": {key: float(np.median([row[key] for row in rows])) for key in keys},
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of embedded models or model files")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--splits", nargs="+", default=["test", "larger"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "molecule_errors.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    predictors = {Path(model).stem if Path(model).exists() else model: load_model(model) for model in options.models}
    with StoreReader(options.data) as store:
        result = describe_machine("torch", "pyscf") | {"data_sha256": content_hash(store), "models": {}}
        for name, predictor in predictors.items():
            groups = {}
            for split in options.splits:
                chosen = [sample for sample in store.names if store.split(sample) == split]
                if not chosen:
                    raise SystemExit(f"{options.data} holds no molecule of split {split!r}")
                groups[split] = summarize([measure_molecule(predictor, store[sample]) for sample in chosen])
            result["models"][name] = {
                "description": predictor.card.description,
                "training_set": predictor.card.training_set,
            } | groups
            write_result(options.out, result)
            print(
                name, {split: {k: round(v, 3) for k, v in group["median"].items()} for split, group in groups.items()}, flush=True
            )


if __name__ == "__main__":
    main()
