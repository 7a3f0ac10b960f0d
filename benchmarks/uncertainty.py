"""Do the uncertainties of a screening tell how wrong it is? Calibrated on validation structures, judged on test structures.

    python benchmarks/uncertainty.py OUT.json --data training/data/graphene/graphene.h5 --model graphene-pbe [--model OTHER ...]

For each kind (distance in feature space; spread of several models) and quantity (mean error of H in meV, error of the gap
in eV): Spearman's rank correlation with the error, the median of error / uncertainty, and the share of errors below one and
two and four times the uncertainty, which is scaled so that half of the errors of validation are below one time.
The model's trust file is written beside a copy of the model, not beside the model.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from measure import describe_machine, write_result
from scipy.stats import spearmanr

from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.models import find_model
from ase_tracegrad.nn.predictor import load_model
from ase_tracegrad.nn.trust import read_trust
from ase_tracegrad.screen.calibration import Errors, calibrate, measure_errors, rank_correlation
from ase_tracegrad.screen.uncertainty import Uncertainty

TIMES = (1, 2, 4)


def judge_uncertainty(models: list[str], data: Path, *, limit: int = 0) -> dict:
    """Figures of the test structures of ``data``; limit: at most so many."""
    with tempfile.TemporaryDirectory() as folder:
        first = Path(shutil.copy(find_model(models[0]), folder))
        calibration = calibrate([first, *models[1:]], data)
        trust = read_trust(first)
        judge = Uncertainty(load_model(first), [load_model(model) for model in models[1:]], trust)
        with StoreReader(data) as store:
            names = [name for name in store.names if store.split(name) == "test"]
            found = [measure_errors(judge, store[name], name) for name in (names[:limit] if limit else names)]
    kinds = calibration.trust.factors
    return {
        "models": models,
        "data": Path(data).name,
        "validation": calibration.trust.data | {"factors": kinds, "farthest": calibration.trust.farthest},
        "test": {kind: {name: _figures(found, kind, name, factor) for name, factor in kinds[kind].items()} for kind in kinds},
        "distance_and_gap": _correlate_with_gap(found),
        "structures": [{"name": e.name, "error": e.error, "uncertainty": e.uncertainty} for e in found],
    }


def _figures(found: list[Errors], kind: str, name: str, factor: float) -> dict:
    ratios = np.array([e.error[name] / max(factor * e.uncertainty[kind][name], 1e-12) for e in found])
    return {
        "rank_correlation": rank_correlation(found, kind, name),
        "median_ratio": float(np.median(ratios)),
        "share_below": {str(times): float((ratios < times).mean()) for times in TIMES},
    }


def _correlate_with_gap(found: list[Errors]) -> float:
    """Rank correlation of the feature distance with the error of the gap: why it gives no uncertainty of the gap."""
    return float(spearmanr([e.uncertainty["distance"]["hamiltonian"] for e in found], [e.error["gap"] for e in found]).statistic)


def main(arguments: list[str] | None = None):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--limit", type=int, default=0)
    chosen = parser.parse_args(arguments)
    result = judge_uncertainty(chosen.model, chosen.data, limit=chosen.limit)
    write_result(chosen.out, result | describe_machine("torch", "numpy"))
    for kind, quantities in result["test"].items():
        for name, figures in quantities.items():
            print(kind, name, figures)


if __name__ == "__main__":
    main()
