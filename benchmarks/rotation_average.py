"""What averaging over orientations does for a HarmoSE model: its error of equivariance, its error against labels, its cost.

    python benchmarks/rotation_average.py MODEL DATA [--rotations 2 4 8] [--structures 4] [--out FILE]

MODEL has a second stage; DATA is a packed file whose test structures count. Rows: stage 1 alone, both stages as the structure
stands, both averaged over so many orientations. One thread; CPU seconds are the least of some calls per structure, summed.
Writes benchmarks/results/rotation_average.json; python training/write_tables.py puts it into docs/method.md.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from measure import describe_machine, fastest_in_turns, write_result

from ase_tracegrad.fit.equivariance import measure_equivariance
from ase_tracegrad.fit.metrics import hamiltonian_error
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.nn.predictor import Predictor, load_model

OUT = Path(__file__).parent / "results" / "rotation_average.json"
TURNS = 4  # orientations of each structure in which it is asked for
REPEATS = 3


def read_test_structures(data, limit: int) -> list[Sample]:
    """The first test structures of a packed file; ValueError if it has none."""
    with StoreReader(data) as store:
        chosen = [store[name] for name in store.names if store.split(name) == "test"][:limit]
    if not chosen:
        raise ValueError(f"{data} holds no test structure")
    return chosen


def measure_error(predictor: Predictor, samples: list[Sample]) -> float:
    """Mean absolute error of the elements of H against the labels, meV."""
    predicted = (predictor.predict([sample.structure], [sample.overlap])[0] for sample in samples)
    return float(np.mean([hamiltonian_error(matrix, sample).all for matrix, sample in zip(predicted, samples, strict=True)]))


def time_predictors(predictors: dict[str, Predictor], samples: list[Sample]) -> dict[str, float]:
    """CPU seconds of all structures, by name of the predictor."""
    totals = dict.fromkeys(predictors, 0.0)
    for sample in samples:
        calls = {name: lambda p=p, s=sample: p.predict([s.structure], [s.overlap]) for name, p in predictors.items()}
        for name, seconds in fastest_in_turns(calls, REPEATS, warm_up=1).items():
            totals[name] += seconds
    return totals


def compare(predictor: Predictor, samples: list[Sample], rotations: list[int]) -> list[dict]:
    """A row for each way to predict; energies in meV."""
    ways = {"stage 1 alone": predictor.with_options(refine=False), "both stages": predictor}
    ways |= {f"mean of {n} orientations": predictor.with_options(n_rotations=n) for n in rotations}
    seconds = time_predictors(ways, samples)
    return [
        {
            "prediction": name,
            "mae_all": measure_error(way, samples),
            "cpu_seconds": seconds[name],
            "cost": seconds[name] / seconds["both stages"],
            "equivariance": measure_equivariance(way, samples, n_rotations=TURNS),
        }
        for name, way in ways.items()
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rotations", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--structures", type=int, default=4)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    predictor = load_model(options.model, device="cpu")
    samples = read_test_structures(options.data, options.structures)
    result = {
        "model": predictor.card.name,
        "description": predictor.card.description,
        "training_set": predictor.card.training_set,
        "structures": len(samples),
        "atoms": [len(sample.structure) for sample in samples],
        "turns": TURNS,
        **describe_machine("torch"),
        "rows": compare(predictor, samples, options.rotations),
    }
    write_result(options.out, result)
    for row in result["rows"]:
        turned = row["equivariance"]
        print(
            f"{row['prediction']:<28} MAE {row['mae_all']:.3f}, turned {turned['rmse']:.3f}, max {turned['max']:.2f} (meV), ",
            end="",
        )
        print(f"bands {turned['band_max']:.2f}, cost {row['cost']:.2f}")


if __name__ == "__main__":
    main()
