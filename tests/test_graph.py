from itertools import product

import numpy as np
import pytest
from ase.build import bulk, graphene, molecule
from hypothesis import given
from hypothesis import strategies as st

from ase_tracegrad.graph import NeighborGraph, build_graph
from ase_tracegrad.structure import Structure, StructureError


def brute_force(structure: Structure, reach: dict[int, float], images: int) -> set:
    """Every pair by three nested loops over cells and atoms."""
    pairs = set()
    ranges = [range(-images, images + 1) if periodic else (0,) for periodic in structure.pbc]
    for shift in product(*ranges):
        for i, j in product(range(len(structure)), repeat=2):
            distance = np.linalg.norm(structure.positions[j] + np.array(shift) @ structure.cell - structure.positions[i])
            own = (i, shift) == (j, (0, 0, 0))
            if own or distance < reach[structure.numbers[i]] + reach[structure.numbers[j]]:
                pairs.add((i, j, shift))
    return pairs


def keys(graph: NeighborGraph) -> list:
    return [(i, j, tuple(r)) for (i, j), r in zip(graph.pairs.tolist(), graph.shifts.tolist(), strict=True)]


@given(
    seed=st.integers(0, 10**6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    outside=st.booleans(),
)
def test_pairs_are_those_of_a_brute_force_search(seed, pbc, outside):
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * 4 + rng.uniform(-0.8, 0.8, (3, 3))
    fractional = (np.indices((2, 2, 1)).reshape(3, -1).T + rng.uniform(0, 0.4, (4, 3))) / [2, 2, 1]
    if outside:
        fractional += rng.integers(-2, 3, fractional.shape)
    structure = Structure([1, 6, 6, 8], fractional @ cell, cell, pbc)
    reach = {1: 0.9, 6: 1.7, 8: 2.2}
    graph = build_graph(structure, reach, closest=0.0)
    found = keys(graph)
    assert len(found) == len(set(found))
    assert set(found) == brute_force(structure, reach, 7 if outside else 3)


@pytest.mark.parametrize("atoms", [bulk("Si"), graphene(vacuum=4.0), molecule("C2H6", vacuum=3.0), molecule("H2O")])
def test_order_reverse_and_vectors(atoms):
    structure = Structure.from_atoms(atoms)
    graph = build_graph(structure, dict.fromkeys(atoms.numbers.tolist(), 2.5))
    n = len(atoms)
    assert graph.n_onsite == n
    assert keys(graph)[:n] == [(i, i, (0, 0, 0)) for i in range(n)]
    assert np.array_equal(graph.pairs[graph.reverse], graph.pairs[:, ::-1])
    assert np.array_equal(graph.shifts[graph.reverse], -graph.shifts)
    assert np.abs(graph.vectors[graph.reverse] + graph.vectors).max() < 1e-12
    distances = np.linalg.norm(graph.vectors, axis=1)
    assert (np.diff(distances[n:]) > -1e-12).all()
    assert distances[n:].max() < 5.0


def test_nothing_crosses_a_direction_that_is_not_periodic():
    atoms = bulk("Si")
    atoms.pbc = (True, False, True)
    graph = build_graph(Structure.from_atoms(atoms), {14: 4.0})
    assert (graph.shifts[:, 1] == 0).all()
    assert np.abs(graph.shifts[:, [0, 2]]).max() > 0


def test_a_molecule_in_a_box_is_the_free_molecule():
    free, boxed = molecule("CH4"), molecule("CH4", vacuum=6.0)
    boxed.pbc = True
    graphs = [build_graph(Structure.from_atoms(a), {1: 1.5, 6: 2.0}) for a in (free, boxed)]
    assert set(keys(graphs[0])) == set(keys(graphs[1]))


def test_a_single_atom_has_its_onsite_pair():
    graph = build_graph(Structure([2], np.zeros((1, 3)), np.zeros((3, 3)), [False] * 3), {2: 3.0})
    assert keys(graph) == [(0, 0, (0, 0, 0))]


def test_atoms_on_top_of_each_other_are_refused():
    atoms = graphene(vacuum=4.0)
    atoms.positions[1] = atoms.positions[0] + [0.1, 0, 0]
    with pytest.raises(StructureError, match=r"atoms [01] and [01] are 0.100 Angstrom apart"):
        build_graph(Structure.from_atoms(atoms), {6: 3.0})


def test_a_tiny_cell_is_refused():
    with pytest.raises(StructureError, match=r"atoms 0 and 0 are 0\.300"):
        build_graph(Structure([6], np.zeros((1, 3)), np.diag([0.3, 4, 4]), [True] * 3), {6: 2.0})


def test_elements_without_a_reach_are_refused():
    with pytest.raises(StructureError, match=r"no reach known for element\(s\) \[1\]; known: \[8\]"):
        build_graph(Structure.from_atoms(molecule("H2O")), {8: 3.0})
