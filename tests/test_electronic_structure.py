"""What the calculator's answers must not depend on, and what cannot be physical."""

import warnings

import numpy as np
import pytest
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.ghosts import GhostStateWarning
from tests.calculator_cases import EMBEDDED, needs_embedded, no_energy_warning
from tests.standin_model import StandInPredictor

pytestmark = no_energy_warning


def test_an_atom_stored_one_period_away_adds_no_axis():
    atoms = graphene(a=2.46, vacuum=5.0)
    atoms.pbc = True
    atoms.positions[1] += atoms.cell[2]
    atoms.calc = TraceGradCalculator(StandInPredictor())
    assert atoms.calc.band_structure(npoints=12, progress=False).path.path == "GMKG"


@needs_embedded
@pytest.mark.filterwarnings("ignore::ase_tracegrad.batching.OutOfDomainWarning")
def test_ghost_states_are_reported_once_per_structure():
    atoms = graphene(a=0.9 * 2.46, vacuum=5.0)
    atoms.calc = TraceGradCalculator(EMBEDDED)
    with pytest.warns(GhostStateWarning, match="no orbital lies below"):
        assert atoms.calc.band_structure("GMKG", 20, progress=False).energies.min() < -100
    with warnings.catch_warnings():
        warnings.simplefilter("error", GhostStateWarning)
        atoms.calc.dos(kpts=(3, 3, 1), progress=False)
        sound = graphene(a=2.46, vacuum=5.0)
        sound.calc = TraceGradCalculator(EMBEDDED)
        assert np.isfinite(sound.calc.get_fermi_level())
