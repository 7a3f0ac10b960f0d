"""The measures of QH9 on a molecule whose H was changed in a known way."""

from dataclasses import replace

import numpy as np
import pytest

from ase_tracegrad.fit.metrics import BandReference
from ase_tracegrad.fit.orbital_errors import FIGURES, orbital_errors, pool_orbital_errors
from tests.fit.cases import make_sample
from tests.fit.test_train_qhnet import make_molecule


@pytest.fixture
def sample():
    """Acetylene with ten electrons."""
    return make_molecule(0, n_electrons=10.0)


def test_an_exact_hamiltonian(sample):
    found = orbital_errors(sample.hamiltonian, sample)
    assert set(found) == set(FIGURES)
    assert found["psi"] == pytest.approx(1, abs=1e-9)
    assert max(found[key] for key in ("epsilon", "homo", "lumo")) < 1e-6


def test_a_shift_moves_all_levels_and_no_orbital(sample):
    found = orbital_errors(sample.hamiltonian + 0.1 * sample.overlap, sample)
    assert [found[key] for key in ("epsilon", "homo", "lumo")] == pytest.approx([100.0] * 3)
    assert found["psi"] == pytest.approx(1, abs=1e-9)


def test_other_orbitals_have_a_smaller_cosine(sample):
    rng = np.random.default_rng(0)
    noise = replace(sample.hamiltonian, values=0.3 * rng.normal(size=len(sample.hamiltonian.values))).symmetrized()
    found = orbital_errors(sample.hamiltonian + noise, sample)
    assert 0.3 < found["psi"] < 0.99
    assert found["epsilon"] > 10


def test_means_over_molecules(sample):
    assert orbital_errors(make_sample(0).hamiltonian, make_sample(0)) == {}, "a crystal has bands"
    rows = [{}, dict.fromkeys(FIGURES, 1.0), dict.fromkeys(FIGURES, 3.0)]
    assert pool_orbital_errors(rows) == dict.fromkeys(FIGURES, 2.0)
    assert pool_orbital_errors([{}]) == {}


def test_levels_without_a_fermi_level(sample):
    """QH9's labels have none: the middle of the gap is taken, the gap error is that of HOMO and LUMO; a crystal is refused."""
    reference = BandReference(sample)
    assert reference.n_filled == 5
    moved = reference.error(sample.hamiltonian + 0.1 * sample.overlap)
    assert moved.largest == pytest.approx(100, rel=1e-6)
    assert moved.gap == pytest.approx(0, abs=1e-6)
    crystal = make_sample(0)
    with pytest.raises(ValueError, match="without a Fermi level"):
        BandReference(replace(crystal, info={}))
