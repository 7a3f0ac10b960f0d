import json

import numpy as np
import pytest

from ase_tracegrad.graph import build_graph
from ase_tracegrad.nn.domain import UnsupportedStructureError, check_domain, describe_domain
from ase_tracegrad.structure import Structure

NO_CELL = (np.zeros((3, 3)), [False, False, False])
ELEMENTS = [1, 6]


def graph_of(numbers, positions, cell=NO_CELL[0], pbc=NO_CELL[1]):
    return build_graph(Structure(numbers, positions, cell, pbc), dict.fromkeys([1, 6, 8], 2.5))


def chain(spacing: float):
    """Carbon chain: two neighbours per atom."""
    return graph_of([6], [[0, 0, 0]], np.diag([spacing, 20, 20]), [True, False, False])


@pytest.fixture
def domain():
    """Chains with bonds of 1.3 and 1.5 Angstrom, as it comes back from a file."""
    return json.loads(json.dumps(describe_domain([chain(1.3), chain(1.5)], ELEMENTS)))


def test_facts(domain):
    assert domain["pairs"]["C-C"] == {"shortest": pytest.approx(1.3), "farthest_nearest": pytest.approx(1.5)}
    assert domain["neighbour_counts"] == {"C": [2, 2]}


@pytest.mark.parametrize("spacing", [1.27, 1.3, 1.4, 1.5, 1.53])
def test_inside(domain, spacing):
    assert check_domain(chain(spacing), ELEMENTS, domain) == []


def test_too_short(domain):
    assert check_domain(chain(1.1), ELEMENTS, domain) == ["C-C distance of 1.100 A, shortest in training 1.300 A"]


def test_too_long(domain):
    warnings = check_domain(chain(1.7), ELEMENTS, domain)
    assert warnings == ["nearest C-C neighbour at 1.700 A, farthest in training 1.500 A"]


def test_coordination(domain):
    ends = graph_of([6, 6], [[0, 0, 0], [1.4, 0, 0]])
    assert check_domain(ends, ELEMENTS, domain) == ["C with 1 to 1 neighbours, 2 to 2 in training"]
    assert check_domain(graph_of([6], [[0, 0, 0]]), ELEMENTS, domain) == ["C with 0 to 0 neighbours, 2 to 2 in training"]


def test_unseen_pair(domain):
    with pytest.raises(UnsupportedStructureError, match=r"never saw H-C pairs; it was trained on: C-C"):
        check_domain(graph_of([6, 1], [[0, 0, 0], [1.1, 0, 0]]), ELEMENTS, domain)


def test_several_elements():
    methylene = graph_of([6, 1, 1], [[0, 0, 0], [0.9, 0.6, 0], [-0.9, 0.6, 0]])
    domain = describe_domain([methylene], ELEMENTS)
    assert set(domain["pairs"]) == {"H-C", "H-H"}
    assert domain["pairs"]["H-C"]["shortest"] == pytest.approx(np.hypot(0.9, 0.6))
    assert domain["neighbour_counts"] == {"H": [2, 2], "C": [2, 2]}
    assert check_domain(methylene, ELEMENTS, domain) == []


def test_isolated_atoms_only():
    atom = graph_of([6], [[0, 0, 0]])
    domain = describe_domain([atom], ELEMENTS)
    assert domain["pairs"] == {}
    assert check_domain(atom, ELEMENTS, domain) == []
    with pytest.raises(UnsupportedStructureError, match="it was trained on: nothing"):
        check_domain(graph_of([6, 6], [[0, 0, 0], [1.4, 0, 0]]), ELEMENTS, domain)
