"""Train a model from a YAML configuration.

    python training/train.py training/configs/graphene.yaml [--set section.key=value ...] [--resume]

Writes config.out: config.json, log.csv, state.pt (for --resume) and, at the end, model.safetensors.
"""

import argparse
import logging

import torch

from ase_tracegrad.fit.config import load_config
from ase_tracegrad.fit.export import export_model
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.store import StoreReader


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. schedule.epochs=10")
    parser.add_argument("--resume", action="store_true", help="continue from state.pt in the output folder")
    parser.add_argument("--threads", type=int, default=None, help="torch threads (results are reproducible for equal numbers)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        config = load_config(options.config, options.set)
        with StoreReader(config.data) as store:
            basis = store.basis
        trainer = Trainer(config, basis, sorted(basis.atoms))
        if options.resume:
            trainer.resume()
        trainer.run()
        path = export_model(trainer)
    except (ValueError, OSError) as error:
        parser.exit(2, f"train.py: {error}\n")
    except FloatingPointError as error:
        parser.exit(1, f"train.py: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\ninterrupted; continue with --resume (last saved state in {config.out})\n")
    print(f"{path}: evaluate it with  python training/evaluate.py {path} {config.data}")


if __name__ == "__main__":
    main()
