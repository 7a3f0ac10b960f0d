import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ase_tracegrad.graph import build_graph
from ase_tracegrad.nn.domain import UnsupportedStructureError, check_domain, describe_domain
from ase_tracegrad.structure import Structure

NO_CELL = (np.zeros((3, 3)), [False, False, False])
ELEMENTS = [1, 6]
CUTOFF = 5.0


def graph_of(numbers, positions, cell=NO_CELL[0], pbc=NO_CELL[1]):
    return build_graph(Structure(numbers, positions, cell, pbc), dict.fromkeys([1, 6, 8], CUTOFF / 2))


def chain(spacing: float):
    """Carbon chain: two neighbours per atom."""
    return graph_of([6], [[0, 0, 0]], np.diag([spacing, 20, 20]), [True, False, False])


def check(graph, domain) -> list[str]:
    return check_domain(graph, ELEMENTS, CUTOFF, domain)


@pytest.fixture
def domain():
    """Chains with bonds of 1.3 to 1.5 Angstrom, as it comes back from a file."""
    chains = [chain(d) for d in (1.3, 1.35, 1.4, 1.45, 1.5)]
    return json.loads(json.dumps(describe_domain(chains, ELEMENTS, CUTOFF)))


def test_facts(domain):
    assert domain["pairs"] == {"C-C": {"shortest": pytest.approx(1.3), "longest": pytest.approx(4.5)}}
    assert domain["bonds"] == {"atoms": {"C (C C)": {"C": [pytest.approx(1.3), pytest.approx(1.5)]}}, "fragments": 1}
    assert np.array(domain["surroundings"]["C"]["C"]["low"]).shape == (7, 5)
    assert np.abs(domain["surroundings"]["C"]["H"]["high"]).max() == 0


@pytest.mark.parametrize("spacing", [1.29, 1.3, 1.38, 1.4, 1.5, 1.51])
def test_inside(domain, spacing):
    assert check(chain(spacing), domain) == []


def test_too_short(domain):
    shortest, bond, around = check(chain(1.1), domain)
    assert shortest == "C-C distance of 1.100 A, shortest in training 1.300 A"
    assert bond == "C atom 0: bond of 1.100 A to C, 1.300 to 1.500 A in C (C C) of the training"
    assert "C atom 0: " in around
    assert "in training" in around


def test_too_long(domain):
    bond, around = check(chain(1.7), domain)
    assert bond == "C atom 0: bond of 1.700 A to C, 1.300 to 1.500 A in C (C C) of the training"
    assert "C neighbours around" in around


def test_longer_than_the_molecules_of_the_training():
    """What the network was never asked for in training, it invents."""
    short, long = graph_of([1, 1], [[0, 0, 0], [0.75, 0, 0]]), graph_of([1, 1], [[0, 0, 0], [3.0, 0, 0]])
    reasons = check(long, describe_domain([short], ELEMENTS, CUTOFF))
    assert "H-H distance of 3.000 A, longest in training 0.750 A" in reasons


def test_cards_of_earlier_versions(domain):
    """They hold neither bonds nor longest distances."""
    del domain["pairs"]["C-C"]["longest"], domain["bonds"]
    (reason,) = check(chain(1.7), domain)
    assert "C neighbours around" in reason


def test_missing_neighbours(domain):
    ends = graph_of([6, 6], [[0, 0, 0], [1.4, 0, 0]])
    bonds, around = check(ends, domain)
    assert bonds == "atom 0 and 1 more: bonds as in C (C), none such in training"
    assert around.startswith("C atom ")
    assert " and 1 more: " in around
    bonds, around = check(graph_of([6], [[0, 0, 0]]), domain)
    assert bonds == "atom 0: bonds as in C (), none such in training"
    assert "0.0 C neighbours around" in around


def test_a_bend_is_seen(domain):
    """Equal distances to the neighbours, other directions."""
    zigzag = graph_of([6, 6], [[0, 0, 0], [1.0, 0.98, 0]], np.diag([2.0, 20, 20]), [True, False, False])
    assert check(zigzag, domain) != []


def test_an_element_that_was_not_there(domain):
    domain["pairs"]["H-C"] = {"shortest": 1.0, "longest": 5.0}
    with_hydrogen = graph_of([6, 1], [[0, 0, 0], [0, 1.1, 0]], np.diag([1.4, 20, 20]), [True, False, False])
    domain["pairs"]["H-H"] = {"shortest": 1.0, "longest": 5.0}
    assert any("H neighbours around" in reason for reason in check(with_hydrogen, domain))


def test_unseen_pair(domain):
    with pytest.raises(UnsupportedStructureError, match=r"never saw H-C pairs; it was trained on: C-C"):
        check(graph_of([6, 1], [[0, 0, 0], [1.1, 0, 0]]), domain)


def test_several_elements():
    methylene = graph_of([6, 1, 1], [[0, 0, 0], [0.9, 0.6, 0], [-0.9, 0.6, 0]])
    domain = describe_domain([methylene], ELEMENTS, CUTOFF)
    assert set(domain["pairs"]) == {"H-C", "H-H"}
    assert domain["pairs"]["H-C"]["shortest"] == pytest.approx(np.hypot(0.9, 0.6))
    assert check(methylene, domain) == []


def test_the_description_does_not_depend_on_axes_or_order(domain):
    turn = Rotation.random(random_state=2).as_matrix()
    positions = np.array([[0, 0, 0], [1.3, 0.2, 0.1], [2.2, 1.3, -0.2]])
    one, other = graph_of([6, 6, 1], positions), graph_of([1, 6, 6], positions[[2, 0, 1]] @ turn.T + 1.0)
    first, second = (describe_domain([g], ELEMENTS, CUTOFF)["surroundings"] for g in (one, other))
    for center in ("H", "C"):
        for neighbour in ("H", "C"):
            for limit in ("low", "high"):
                assert np.allclose(first[center][neighbour][limit], second[center][neighbour][limit], atol=2e-4)


def test_isolated_atoms_only():
    atom = graph_of([6], [[0, 0, 0]])
    domain = describe_domain([atom], ELEMENTS, CUTOFF)
    assert domain["pairs"] == {}
    assert check(atom, domain) == []
    with pytest.raises(UnsupportedStructureError, match="it was trained on: nothing"):
        check(graph_of([6, 6], [[0, 0, 0], [1.4, 0, 0]]), domain)
