import numpy as np
import pytest

from ase_tracegrad.electronic.ghosts import PLAUSIBLE_BINDING, describe_ghost, find_lowest_orbital
from tests.electronic.lattice_models import graphene_model, random_model


@pytest.mark.parametrize("spinor", [False, True])
def test_the_lowest_orbital(spinor):
    h, s = random_model(spinor=spinor)
    onsite = [np.diag(h.block(atom, atom)).real.min() for atom in range(2)]
    assert find_lowest_orbital(h, s) == pytest.approx(min(onsite))
    assert find_lowest_orbital(2.0 * h, s) == pytest.approx(2 * min(onsite))


def test_only_states_that_cannot_be_are_described():
    energies = np.array([[-21.0, 3.0], [-20.0 - PLAUSIBLE_BINDING - 1, 4.0]])
    kpts = np.array([[0, 0, 0], [0.5, 0.25, 0]])
    assert describe_ghost(energies[:1], kpts[:1], -20.0, 0.01) is None
    text = describe_ghost(energies, kpts, -20.0, 0.01)
    assert "-71 eV, k = (0.5, 0.25, 0)" in text
    assert "hamiltonian_error'] = 0.01 eV" in text


def test_an_orbital_without_a_block_of_its_own_has_no_energy():
    """Tight-binding models often store hoppings alone."""
    h, s = graphene_model()
    hoppings = h.cut((h.pairs[:, 0] != h.pairs[:, 1]) | h.shifts.any(axis=1))
    assert find_lowest_orbital(hoppings, s) == find_lowest_orbital(h, s) == 0.0
