"""What TraceGrad gains on a prepared data set: variants of one configuration, equal epochs, several seeds.

    python benchmarks/comparison.py training/configs/mg.yaml --epochs 60 [--seeds 0 1 2] [--variants backbone tracegrad ...]
        [--set KEY=VALUE ...] [--work FOLDER] [--out FILE]

Variants are trained on raw H, as in the paper, or standardized as they say; all with a one-cycle schedule, which ends within the
epochs. Those of ABLATION and HARMOSE (see variants.py) run if they are named. --set has the last word over all variants. Stopped at
any time, the same command goes on in the middle of a run; finished runs are not repeated. Several processes may share the work
(other --seeds or --variants, the same --work).
Writes benchmarks/results/comparison_NAME.json after every run; python training/write_tables.py puts it into training/README.md,
that of molecules, evaluated on --splits test larger, into docs/molecules.md.
"""

import argparse
import json
import re
from bisect import bisect_left
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from measure import describe_machine, fastest, write_result
from summary import POOLED, medians, pool, summarize, variant_of
from variants import ALL, VARIANTS

from ase_tracegrad.fit.config import TrainingConfig, load_config
from ase_tracegrad.fit.equivariance import measure_equivariance
from ase_tracegrad.fit.evaluate import TURNED, evaluate_model, group_of
from ase_tracegrad.fit.export import MODEL_FILE, export_model
from ase_tracegrad.fit.run import split_stages
from ase_tracegrad.fit.state import MAY_CHANGE, STATE_FILE
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader, content_hash
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.checkpoint import load_checkpoint
from ase_tracegrad.nn.config import NetworkConfig, config_from_dict, config_to_dict
from ase_tracegrad.nn.network import count_parameters
from ase_tracegrad.nn.predictor import DTYPES, Predictor

RESULTS = Path(__file__).parent / "results"
FINISHED = "result.json"


def make_config(path: Path, name: str, seed: int, options) -> TrainingConfig:
    """The file with the variant's settings, seed and length, and --set after all."""
    variant = ALL[name]
    epochs = options.epochs * variant.lengths
    settings = {"schedule.kind": "one-cycle", "schedule.epochs": epochs, "validate_bands": 0}
    settings |= {"validate_every": max(1, epochs // 10), "standardize": variant.standardize, "seed": seed}
    settings |= {"out": str(options.work / f"{name}-{seed}"), "card.name": f"{variant.title}, seed {seed}"}
    chosen = [f"{key}={json.dumps(value)}" for key, value in (settings | variant.settings).items()]
    config = load_config(path, [*chosen, *options.settings])
    if variant.after:
        stage_one = options.work / f"{variant.after}-{seed}" / MODEL_FILE
        return split_stages(replace(config, start=str(stage_one), refine=replace(config.refine, epochs=options.epochs)))[1]
    if not variant.matched:
        return config
    target = make_config(path, variant.matched, seed, options).network
    return replace(config, network=match_parameters(config.network, target, config.data))


def match_parameters(config: NetworkConfig, target: NetworkConfig, data: str) -> NetworkConfig:
    """``config`` with all channels times the smallest factor (in hundredths) that gives it as many parameters as ``target``."""
    with StoreReader(data) as store:
        basis = store.basis

    def count(network: NetworkConfig) -> int:
        return count_parameters(build_network(network, basis, sorted(basis.atoms)))

    hundredths = range(100, 301)
    enough = bisect_left(hundredths, count(target), key=lambda factor: count(widen(config, factor / 100)))
    return widen(config, hundredths[enough] / 100)


def widen(config: NetworkConfig, factor: float) -> NetworkConfig:
    """All features of the backbone with ``factor`` times the channels."""
    if config.backbone == "qhnet":
        counts = {key: round(getattr(config.qhnet, key) * factor) for key in ("hidden", "bottleneck")}
        return replace(config, qhnet=replace(config.qhnet, **counts))
    section = config.deeph_e3 if config.backbone == "deeph-e3" else config
    wider = {
        key: re.sub(r"(\d+)(?=x)", lambda m: str(round(int(m[1]) * factor)), getattr(section, key))
        for key in ("hidden", "edge_last", "node_last")
    }
    if config.backbone == "deeph-e3":
        return replace(config, deeph_e3=replace(config.deeph_e3, **wider))
    return replace(config, **wider)


def run(config: TrainingConfig, digest: str, splits: list[str]) -> dict:
    """Train, or go on, and evaluate on the splits; figures in meV. A finished run is read, ValueError if it is another one.

    Of the split test alone its groups are told apart; of several, each is a group.
    """
    file = Path(config.out) / FINISHED
    made_with = {k: v for k, v in config_to_dict(config).items() if k not in MAY_CHANGE} | {"data_sha256": digest}
    if file.exists():
        result = json.loads(file.read_text())
        if not _alike(result["made_with"], made_with):
            raise ValueError(f"{file} is of other settings or data: choose another --work, or delete that folder")
        if len(splits) > 1 and not set(splits) <= set(result["groups"]):  # evaluated on others
            result |= evaluate_run(load_predictor(config), config.data, splits)
            write_result(file, result)
        elif "prediction_seconds" not in result:  # finished by a version that did not take the time
            result |= measure_cost(load_predictor(config), read_samples(config.data, POOLED))
            write_result(file, result)
        return result
    trainer = resume(config)
    network = trainer.run()
    export_model(trainer)
    with StoreReader(config.data) as store:
        predictor = Predictor(network, store.basis, card=None)
    result = {
        "epochs": trainer.epoch,
        "training_structures": len(trainer.data["train"]),
        "cpu_seconds": trainer.seconds,
        **evaluate_run(predictor, config.data, splits),
        "made_with": made_with,
    }
    write_result(file, result)
    return result


def evaluate_run(predictor: Predictor, data, splits: list[str]) -> dict:
    """Cost of a prediction, what turning the structure changes, and the errors of every group, of all test structures first."""
    with StoreReader(data) as store:
        chosen = [name for name in store.names if store.split(name) in splits]
        named = {name: store.split(name) if len(splits) > 1 else group_of(name, store.facts(name)) for name in chosen}
        errors = evaluate_model(predictor, ((named[name], name, store[name]) for name in chosen))
    groups = errors["groups"] if POOLED in errors["groups"] else {POOLED: pool(errors["structures"])} | errors["groups"]
    samples = read_samples(data, POOLED)
    result = {
        **measure_cost(predictor, samples),
        "equivariance": measure_equivariance(predictor, samples) if predictor.refine else {},
        "groups": groups,
    }
    if len(splits) > 1:
        for split in splits:
            cost = result if split == POOLED else measure_cost(predictor, read_samples(data, split))
            groups[split] |= medians(errors["structures"], split) | {"prediction_seconds": cost["prediction_seconds"]}
    return result


def resume(config: TrainingConfig) -> Trainer:
    """A new trainer, or one that goes on where the run in its folder stopped."""
    with StoreReader(config.data) as store:
        basis = store.basis
    trainer = Trainer(config, basis, sorted(basis.atoms))
    if (trainer.out / STATE_FILE).exists():
        trainer.resume()
    return trainer


def load_predictor(config: TrainingConfig) -> Predictor:
    """The model of a finished run, made from its state if an older version kept none."""
    file = Path(config.out) / MODEL_FILE
    return Predictor(*load_checkpoint(file if file.exists() else export_model(resume(config)), DTYPES["float32"]))


def read_samples(data, split: str) -> list[Sample]:
    """The structures of a split on which rotations and times are measured."""
    with StoreReader(data) as store:
        return [store[name] for name in [name for name in store.names if store.split(name) == split][:TURNED]]


def measure_cost(predictor: Predictor, samples: list[Sample]) -> dict[str, float]:
    """Parameters of all stages, CPU seconds of a prediction in the mean over the structures."""
    seconds = [fastest(lambda s=s: predictor.predict([s.structure], [s.overlap]), 3)[0] for s in samples]
    return {"parameters": sum(p.numel() for p in predictor.network.parameters()), "prediction_seconds": float(np.mean(seconds))}


def _alike(before: dict, now: dict) -> bool:
    """Whether two runs were made with the same settings and data; settings that came later had their defaults before."""
    settings = {key: value for key, value in before.items() if key != "data_sha256"} | {"data": "", "out": ""}
    complete = config_to_dict(config_from_dict(TrainingConfig, settings))
    kept = {key: value for key, value in complete.items() if key not in MAY_CHANGE}
    return kept | {"data_sha256": before["data_sha256"]} == now


def collect(work: Path) -> dict[str, dict]:
    """The finished runs of a folder, '<variant>-<seed>', in the order of the variants."""
    found = {file.parent.name: json.loads(file.read_text()) for file in work.glob(f"*/{FINISHED}")}
    for run in found.values():  # older versions wrote down where the run lay
        run["made_with"] = {key: value for key, value in run["made_with"].items() if key not in MAY_CHANGE}
    names = list(ALL)
    return dict(sorted(found.items(), key=lambda item: (names.index(variant_of(item[0])), int(item[0].rsplit("-", 1)[1]))))


def write(options, digest: str):
    """All finished runs of the folder as json."""
    runs = collect(options.work)
    first = next(iter(runs.values()))
    epochs = {name: row["epochs"] / ALL[variant_of(name)].lengths for name, row in runs.items()}
    if len({(epochs[name], row["training_structures"], row["made_with"]["data_sha256"]) for name, row in runs.items()}) > 1:
        raise ValueError(f"{options.work} holds runs of different length or data: choose another --work")
    result = {
        "name": options.config.stem,
        "description": load_config(options.config).card.description,
        "epochs": int(next(iter(epochs.values()))),
        "training_structures": first["training_structures"],
        "test_structures": first["groups"][POOLED]["structures"],
        "data_sha256": digest,
        "settings": [setting for setting in options.settings if not setting.startswith("data=")],
        **describe_machine("torch"),
        "summary": summarize(runs),
        "runs": runs,
    }
    write_result(options.out, result)
    return result["summary"]


def print_table(summary: dict):
    """The headline figures, for people."""
    print(f"{'variant':<30}{'seeds':>6}{'parameters':>12}{'CPU s':>8}{'H MAE':>18}{'cha_b':>18}{'bands, aligned':>20}  (meV)")
    for title, entry in summary.items():
        cells = (entry[f"{POOLED} {key}"] for key in ("mae_all", "cha_b", "band_rmse_gauge"))
        text = "".join(
            f"{cell['mean']:>10.3f}" + (f" ± {cell['std']:5.3f}" if cell["std"] is not None else 8 * " ") for cell in cells
        )
        print(f"{title:<30}{entry['seeds']:>6}{entry['parameters']:>12}{entry['cpu_seconds']:>8.0f}{text}", flush=True)


def parse(arguments=None):
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", choices=list(ALL), default=list(VARIANTS))
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="e.g. data=FILE")
    parser.add_argument("--splits", nargs="+", default=["test"], help="what is evaluated; test larger for molecules")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--work", type=Path, default=None, help="folder of the runs; default: runs/comparison/NAME")
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results/comparison_NAME.json")
    options = parser.parse_args(arguments)
    if POOLED not in options.splits:
        parser.error(f"--splits {' '.join(options.splits)}: {POOLED} must be among them")
    options.work = options.work or Path("runs/comparison") / options.config.stem
    options.out = options.out or RESULTS / f"comparison_{options.config.stem}.json"
    return options


def run_variant(name: str, seed: int, options, digest: str) -> dict:
    """One run, after the run whose network it begins from."""
    first = ALL[name].after
    if first:
        run_variant(first, seed, options, digest)
        stage_one = make_config(options.config, first, seed, options)
        if not (Path(stage_one.out) / MODEL_FILE).exists():  # finished by a version that kept no model
            export_model(resume(stage_one))
    return run(make_config(options.config, name, seed, options), digest, options.splits)


def main(arguments=None):
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    with StoreReader(make_config(options.config, "backbone", 0, options).data) as store:
        digest, there = content_hash(store), {store.split(name) or "structures without a split" for name in store.names}
    if missing := sorted(set(options.splits) - there):
        raise SystemExit(f"--splits: the data hold no {', '.join(missing)}; they hold {', '.join(sorted(there))}")
    diverged = []
    for seed, name in product(options.seeds, options.variants):
        try:
            run_variant(name, seed, options, digest)
        except FloatingPointError as error:
            diverged.append(f"{name}, seed {seed}: {error}")
        else:
            print_table(write(options, digest))
    if diverged:
        raise SystemExit("\n".join(diverged))


if __name__ == "__main__":
    main()
