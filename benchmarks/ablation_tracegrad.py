"""What TraceGrad gains on graphene at a fixed short budget: four variants, equal epochs, several seeds.

    python benchmarks/ablation_tracegrad.py training/data/graphene/graphene.h5 [--seeds 3] [--epochs 40]

Variants: the backbone without TraceGrad, widened to the same number of parameters; + gradient (blocks, no trace loss);
+ trace loss (invariants and decoder, no gradient); TraceGrad (both). A small network on primitive and 2x2 cells, evaluated
on unseen 2x2 and 3x3 cells. Runs are kept in --work; finished ones are not repeated. Writes
benchmarks/results/ablation_tracegrad.json.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from measure import describe_machine, write_result

from ase_tracegrad.fit.config import TrainingConfig, load_config
from ase_tracegrad.fit.evaluate import evaluate_model
from ase_tracegrad.fit.state import STATE_FILE
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.nn.network import count_parameters
from ase_tracegrad.nn.predictor import Predictor

OUT = Path(__file__).parent / "results" / "ablation_tracegrad.json"
BASE = Path(__file__).parent / "ablation_tracegrad.yaml"
SMALL = {
    "hidden": "16x0e+12x1o+8x2e+4x3o+4x4e",
    "edge_last": "16x0e+12x1o+4x1e+12x2e+4x2o+6x3o+2x3e+4x4e",
    "node_last": "24x0e+16x1o+6x1e+16x2e+6x2o+8x3o+4x3e+6x4e",
}
# The same network without TraceGrad, wider so that the number of parameters agrees within 2 %.
WIDER = {
    "hidden": "20x0e+14x1o+9x2e+5x3o+4x4e",
    "edge_last": "19x0e+14x1o+5x1e+14x2e+4x2o+7x3o+3x3e+4x4e",
    "node_last": "28x0e+18x1o+6x1e+18x2e+6x2o+9x3o+4x3e+6x4e",
}
TITLES = {"x2": "displaced 2x2", "x3": "displaced 3x3"}  # test sets by the beginning of their names
VARIANTS = {
    "backbone, matched parameters": (WIDER, {"nodes": False, "edges": False, "decoder": False}, 0.0),
    "+ gradient": (SMALL, {"decoder": False}, 0.0),
    "+ trace loss": (SMALL, {"gradient": False}, 0.3),
    "TraceGrad": (SMALL, {}, 0.3),
}


def make_config(data: str, work: Path, variant: str, seed: int, epochs: int) -> TrainingConfig:
    """The base file with the variant's network, loss, seed and length."""
    irreps, tracegrad, weight = VARIANTS[variant]
    settings = {f"network.{key}": value for key, value in irreps.items()}
    settings |= {f"network.tracegrad.{key}": value for key, value in tracegrad.items()}
    settings |= {"data": data, "out": str(work / f"{variant}-{seed}"), "seed": seed, "schedule.epochs": epochs}
    settings |= {"loss.trace_weight": weight, "card.name": f"{variant}, seed {seed}"}
    return load_config(BASE, [f"{key}={json.dumps(value)}" for key, value in settings.items()])


def run(config: TrainingConfig) -> dict:
    """Train and evaluate on the test split; figures in meV."""
    with StoreReader(config.data) as store:
        basis = store.basis
        tests = [
            (TITLES[name.split("-")[0]], name, store[name])
            for name in store.names
            if store.split(name) == "test" and name.split("-")[0] in TITLES
        ]
    trainer = Trainer(config, basis, sorted(basis.atoms))
    if (trainer.out / STATE_FILE).exists():
        trainer.resume()
    network = trainer.run()
    groups = evaluate_model(Predictor(network, basis, card=None), tests, progress=False)["groups"]
    return {"parameters": count_parameters(network), "cpu_seconds": trainer.seconds, **groups}


def summarize(runs: dict[str, dict]) -> dict:
    """Mean and standard deviation over the seeds of every variant."""
    summary = {}
    for variant in VARIANTS:
        rows = [figures for name, figures in runs.items() if name.rsplit("-", 1)[0] == variant]
        entry = {
            "seeds": len(rows),
            "parameters": rows[0]["parameters"],
            "cpu_seconds": float(np.mean([r["cpu_seconds"] for r in rows])),
        }
        for test in TITLES.values():
            for key in ("mae_all", "mae_onsite", "mae_gauge", "band_rmse", "band_rmse_gauge"):
                values = [r[test][key] for r in rows]
                entry[f"{test} {key}"] = {
                    "mean": float(np.mean(values)),
                    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                }
        summary[variant] = entry
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = {}
    for seed in range(options.seeds):
        for variant in VARIANTS:
            config = make_config(options.data, options.work, variant, seed, options.epochs)
            runs[f"{variant}-{seed}"] = run(config)
    result = {
        "epochs": options.epochs,
        "training_structures": load_config(BASE).limit,
        **describe_machine("torch"),
        "summary": summarize(runs),
        "runs": runs,
    }
    write_result(options.out, result)
    for variant, entry in result["summary"].items():
        cells = [
            f"{entry[key]['mean']:8.3f} +- {entry[key]['std'] or 0:5.3f}"
            for key in ("displaced 2x2 mae_all", "displaced 2x2 band_rmse_gauge", "displaced 3x3 mae_all")
        ]
        print(f"{variant:<30}{entry['parameters']:>8}{entry['cpu_seconds']:>8.0f} s" + "".join(cells))


if __name__ == "__main__":
    main()
