"""An ASE calculator that predicts Kohn-Sham Hamiltonians: H(R), S(R), bands, density of states and gap.

Public names are loaded on first use, so importing the package imports neither torch nor ASE.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that type checkers and editors know what __getattr__ gives
    from .blocks import BlockMatrix
    from .calculator import TraceGradCalculator
    from .electronic.bands import compute_bands
    from .io import read, read_basis
    from .io.sample import Sample
    from .models import available_models
    from .nn.deeph_e3_checkpoint import load_deeph_e3
    from .nn.predictor import load_model
    from .overlap import compute_overlap

__version__ = "0.1.0"

_HOME = {
    "TraceGradCalculator": "calculator",
    "load_model": "nn.predictor",
    "load_deeph_e3": "nn.deeph_e3_checkpoint",
    "available_models": "models",
    "read": "io",
    "read_basis": "io",
    "Sample": "io.sample",
    "BlockMatrix": "blocks",
    "compute_overlap": "overlap",
    "compute_bands": "electronic.bands",
}

__all__ = [
    "BlockMatrix",
    "Sample",
    "TraceGradCalculator",
    "__version__",
    "available_models",
    "compute_bands",
    "compute_overlap",
    "load_deeph_e3",
    "load_model",
    "read",
    "read_basis",
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
