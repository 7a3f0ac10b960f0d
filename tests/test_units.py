import ase.units
import pytest

from ase_tracegrad import units


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (units.HARTREE, ase.units.Hartree),
        (units.RYDBERG, ase.units.Rydberg),
        (units.BOHR, ase.units.Bohr),
        (units.BOLTZMANN, ase.units.kB),
        (units.DEBYE, ase.units.Debye),
    ],
)
def test_constants_are_those_of_ase(ours, theirs):
    assert ours == pytest.approx(theirs, rel=1e-14)
