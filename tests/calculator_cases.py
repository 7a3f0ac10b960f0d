"""The structures and models that the tests of the calculator run on."""

import pytest
from ase.build import bulk, graphene
from standin_model import StandInPredictor

from ase_tracegrad import TraceGradCalculator

EMBEDDED = "graphene-pbe"


def make_atoms(case: str, **parameters):
    """(atoms with a calculator, a band path) of one of CASES."""
    if case == "silicon":
        atoms, path, model = bulk("Si"), "LGX", StandInPredictor()
    else:
        atoms, path = graphene(a=2.46, vacuum=5.0), "GMKG"
        model = StandInPredictor() if case == "graphene" else EMBEDDED
    size = (4, 4, 4) if case == "silicon" else (6, 6, 1)
    atoms.calc = TraceGradCalculator(model, **{"kpts": size} | parameters)
    return atoms, path


def _has_embedded() -> bool:
    try:
        from ase_tracegrad import available_models
    except ImportError:
        return False
    return EMBEDDED in available_models()


needs_embedded = pytest.mark.skipif(not _has_embedded(), reason=f"the embedded model {EMBEDDED} is not built yet")
CASES = ["silicon", "graphene", pytest.param(EMBEDDED, marks=needs_embedded)]
every_case = pytest.mark.parametrize("case", CASES)
every_sheet = pytest.mark.parametrize("case", CASES[1:])
no_energy_warning = pytest.mark.filterwarnings("ignore:TraceGrad predicts a Hamiltonian, not a total energy")


def count_predictions(calc, monkeypatch) -> list:
    """A list that grows with every structure the network is asked about."""
    seen: list = []
    predict = calc.predictor.predict
    monkeypatch.setattr(calc.predictor, "predict", lambda structures: seen.extend(structures) or predict(structures), raising=False)
    return seen
