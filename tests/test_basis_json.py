import copy
import json

import numpy as np
import pytest

from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, Shell, TabulatedRadial
from ase_tracegrad.basis_json import basis_from_json, basis_to_json


@pytest.fixture
def basis() -> Basis:
    r = np.linspace(0, 5, 60)
    gaussian = GaussianRadial(0, np.array([0.3, 1.1]), np.array([0.7, -0.2]), tolerance=1e-6)
    table = TabulatedRadial(2, r, r**2 * np.exp(-r) * (1 - r / 5) ** 2)
    unnormalised = TabulatedRadial(2, r, 0.3 * r**2 * np.exp(-r) * (1 - r / 5) ** 2, normalise=False, cutoff=4.5)
    shells = (Shell(0, gaussian), Shell(2, table), Shell(2, unnormalised))
    return Basis({6: AtomicBasis(6, (0, 2, 2), shells, 4.0), 1: AtomicBasis(1, (0, 0))}, "mine", "X", "PBE")


def test_round_trip_through_text(basis):
    data = json.loads(json.dumps(basis_to_json(basis)))
    again = basis_from_json(data)
    assert (again.name, again.code, again.xc) == ("mine", "X", "PBE")
    assert again[1] == basis[1]
    assert (again[6].angular_momenta, again[6].valence) == ((0, 2, 2), 4.0)
    r = np.linspace(0, 6, 50)
    for shell, original in zip(again[6].shells, basis[6].shells, strict=True):
        assert np.abs(shell.radial(r) - original.radial(r)).max() < 1e-14
        assert shell.reach == original.reach


def test_writing_what_was_read_changes_nothing(basis):
    data = basis_to_json(basis)
    for _ in range(3):
        data = basis_to_json(basis_from_json(data))
    again, original = (basis_from_json(d)[6].shells[1].radial.values for d in (data, basis_to_json(basis)))
    assert np.abs(again - original).max() < 1e-15


def test_a_read_basis_is_written_equal_to_the_last_bit(basis):
    """A packed file compares bases by their text, so a copy of a copy must not drift."""
    once = basis_from_json(basis_to_json(basis))
    assert basis_to_json(basis_from_json(basis_to_json(once))) == basis_to_json(once)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("atoms",), None),
        (("name",), "delete"),
        (("atoms", "6", "shells"), "delete"),
        (("atoms", "6", "shells", 0, "kind"), "slater"),
        (("atoms", "6", "shells", 0, "exponents"), [-1.0, 1.0]),
        (("atoms", "6", "angular_momenta"), [0]),
        (("atoms", "6", "valence"), "four"),
    ],
)
def test_damaged_data_are_refused(basis, path, value):
    data = copy.deepcopy(basis_to_json(basis))
    *way, last = path
    entry = data
    for key in way:
        entry = entry[key]
    if value == "delete":
        del entry[last]
    else:
        entry[last] = value
    with pytest.raises(ValueError, match=r"\w"):
        basis_from_json(data)
