"""What ASE's entry points load: the calculator's name for ``ase run``, and packed files for ase.io.read.

ASE imports this module on any ``import ase.io``, so it must cost nothing: no torch, no network.
"""

from ase.calculators.calculator import external_calculators, register_calculator_class
from ase.utils.plugins import ExternalIOFormat

NAME = "tracegrad"


class LazyTraceGradCalculator:
    """Stands for TraceGradCalculator in ASE's table of names until somebody makes one."""

    nolabel = True

    def __new__(cls, **parameters):
        """The real calculator."""
        from .calculator import TraceGradCalculator

        return TraceGradCalculator(**parameters)


if NAME not in external_calculators:
    register_calculator_class(NAME, LazyTraceGradCalculator)

try:
    from ase._4.plugins.plugin import CalculatorPlugin
except ImportError:
    # ASE announces this namespace as experimental; without it only the listing of `ase info --plugins` is lost.
    __ase_plugins__: set = set()
else:
    __ase_plugins__ = {
        CalculatorPlugin(
            NAME,
            citation="TraceGrad: arXiv:2405.05722",
            implementation="ase_tracegrad.calculator.TraceGradCalculator",
        )
    }

tgh = ExternalIOFormat(
    desc="ase_tracegrad packed Hamiltonians (structures only)", code="+S", module="ase_tracegrad._ase_plugin", ext=["tgh"]
)


def read_tgh(filename, index=-1):
    """ase.io.read of a packed file: its structures, in the order of their names. Matrices: ase_tracegrad.read."""
    from .io.store import StoreReader

    with StoreReader(filename) as store:
        names = store.names[index] if isinstance(index, slice) else [store.names[index]]
        for name in names:
            sample = store[name]
            atoms = sample.atoms
            atoms.info["name"] = name
            yield atoms
