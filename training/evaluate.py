"""Errors of a model on the test split of a packed data file, as json and as a table: the command ``tracegrad evaluate``.

python training/evaluate.py MODEL DATA [--split test] [--out evaluation.json] [--write-card]
"""

import sys

from ase_tracegrad.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
