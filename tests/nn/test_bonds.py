"""Bonds that are broken, stretched or new, which distances to single elements do not show."""

import json

import numpy as np
import pytest
from ase.build import mx2
from ase.data import covalent_radii

from ase_tracegrad.covalent_radii import covalent_radius
from ase_tracegrad.graph import build_graph
from ase_tracegrad.nn.bonds import Bonds, check_bonds, describe_bonds
from ase_tracegrad.structure import Structure

ETHANE = [[0, 0, 0], [1.53, 0, 0], [-0.4, 1.02, 0], [-0.4, -0.5, 0.88], [-0.4, -0.5, -0.88]]
ETHANE += [[1.93, -1.02, 0], [1.93, 0.5, 0.88], [1.93, 0.5, -0.88]]
ETHANE_NUMBERS = [6, 6, 1, 1, 1, 1, 1, 1]


def graph_of(numbers, positions):
    return build_graph(Structure(numbers, positions, np.zeros((3, 3)), [False] * 3), dict.fromkeys((1, 6, 7, 8), 4.0))


def stretched(length: float):
    """Ethane whose two halves are ``length`` apart."""
    positions = np.array(ETHANE)
    positions[positions[:, 0] > 0.7, 0] += length - 1.53
    return graph_of(ETHANE_NUMBERS, positions)


@pytest.fixture
def seen():
    """Ethane with bonds from 1.48 to 1.58 Angstrom, as it comes back from a file."""
    return json.loads(json.dumps(describe_bonds([stretched(1.48), stretched(1.58)])))


def test_radii_are_those_of_ase():
    """Which has them from the same paper; that ends at curium."""
    assert [covalent_radius(z) for z in range(1, 97)] == covalent_radii[1:97].tolist()
    assert covalent_radius(118) > 1


def test_facts(seen):
    assert list(seen["atoms"]) == ["C (C H H H)", "H (C)"]
    assert seen["atoms"]["C (C H H H)"]["C"] == [1.48, 1.58]
    assert seen["fragments"] == 1


@pytest.mark.parametrize("length", [1.40, 1.53, 1.67])
def test_vibrations_are_accepted(seen, length):
    assert check_bonds(stretched(length), seen) == []


@pytest.mark.parametrize("length", [1.75, 1.95])
def test_a_stretched_bond(seen, length):
    (reason,) = check_bonds(stretched(length), seen)
    assert reason == f"C atom 0: bond of {length:.3f} A to C, 1.480 to 1.580 A in C (C H H H) of the training"


@pytest.mark.parametrize("length", [2.1, 2.6, 4.5])
def test_a_broken_bond(seen, length):
    """Each carbon atom still has three near neighbours, and the distance of the two is that of second neighbours elsewhere."""
    assert check_bonds(stretched(length), seen) == [
        "atom 0 and 1 more: bonds as in C (H H H), none such in training",
        "2 fragments without a bond between them, at most 1 in training",
    ]


def test_two_whole_molecules(seen):
    """Each is as in training, both together are not."""
    positions = np.concatenate([ETHANE, np.array(ETHANE) + [0, 0, 4.0]])
    (reason,) = check_bonds(graph_of(2 * ETHANE_NUMBERS, positions), seen)
    assert reason == "2 fragments without a bond between them, at most 1 in training"


def test_crystals_are_bonded_through_their_faces():
    layer = mx2("MoS2", vacuum=6)
    layer.pbc = True
    graph = build_graph(Structure.from_atoms(layer), {42: 4.0, 16: 4.0})
    assert Bonds(graph).n_fragments == 1
    assert Bonds(graph).around[0] == f"Mo ({' '.join(6 * ['Mo'] + 6 * ['S'])})"
