"""Warnings that point at the line of the user's script, however deep in this package or in ASE they arise."""

import sys
import warnings

# warnings.warn(skip_file_prefixes=...) does this from Python 3.12 on.
INSIDE = ("ase_tracegrad", "ase")


def warn_caller(message: str, category: type[Warning]):
    """warnings.warn, shown at the nearest caller outside this package and ASE."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
