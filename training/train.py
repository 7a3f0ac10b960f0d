"""Train a model from a YAML configuration: the command ``tracegrad train``, for a checkout.

python training/train.py training/configs/graphene.yaml [--set section.key=value ...] [--resume] [--dry-run]
torchrun --nproc-per-node 2 training/train.py training/configs/graphene.yaml
"""

import sys

from ase_tracegrad.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
