"""Errors of a model on the test split of a packed data file, as json and as a table.

    python training/evaluate.py MODEL DATA [--split test] [--out evaluation.json] [--write-card]

Samples are grouped by the beginning of their name, up to the dash: x2-019 belongs to x2.
"""

import argparse
import json
from pathlib import Path

from ase_tracegrad import load_model
from ase_tracegrad.fit.evaluate import evaluate_model, format_table, write_errors_into_card
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.replace_file import replace_text

GROUPS = {
    "x1": "primitive cell, strained",
    "x2": "displaced 2x2",
    "x3": "displaced 3x3",
    "x4": "rippled 4x4",
    "vacuum": "primitive cell, more vacuum",
    "rect": "rippled rectangle",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, default=None, help="json file (default: evaluation.json here)")
    parser.add_argument("--write-card", action="store_true", help="store the figures in the model's card")
    options = parser.parse_args()
    try:
        predictor = load_model(options.model)
        with StoreReader(options.data) as store:
            samples = (
                (GROUPS.get(name.split("-")[0], name.split("-")[0]), name, store[name])
                for name in store.names
                if store.split(name) == options.split
            )
            result = evaluate_model(predictor, samples)
    except (ValueError, KeyError, FileNotFoundError) as error:
        parser.exit(2, f"evaluate.py: {error}\n")
    if not result["groups"]:
        parser.exit(2, f"evaluate.py: {options.data} holds no sample of split {options.split!r}\n")
    out = options.out or Path("evaluation.json")
    card = predictor.card
    header = {"model": card.name, "description": card.description, "training_set": card.training_set}
    header |= {"data_sha256": card.data_sha256, "split": options.split}
    replace_text(out, json.dumps(header | result, indent=1) + "\n")
    print(format_table(result["groups"]))
    if options.write_card:
        write_errors_into_card(predictor.path, result["groups"])


if __name__ == "__main__":
    main()
