"""``python -m ase_tracegrad``: the command ``tracegrad``."""

from .cli import main

if __name__ == "__main__":
    main()
