"""H in cells with more or less vacuum differs by a multiple of S, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.config import ConfigError
from ase_tracegrad.structure import Structure
from tests.nn.synthetic import make_config, make_predictor

ATOMS = np.array([[0.1, 0.2, 0.3], [1.2, 0.1, 0.0], [0.4, 1.3, -0.2]])
NUMBERS = np.array([6, 6, 1])


@pytest.fixture(scope="module")
def predictor():
    found = make_predictor((1, 6), energy_zero="cell-average")
    found.network.energy_zero.moment.copy_(torch.tensor([7.0, 90.0]))
    torch.nn.init.normal_(found.network.energy_zero.head.weight)
    return found


def in_cell(height: float, pbc=(True, True, True)) -> Structure:
    return Structure(NUMBERS, ATOMS, np.diag([2.6, 7.0, height]), pbc)


def random_overlap(predictor, structure: Structure) -> BlockMatrix:
    """Any matrix will do; the synthetic basis has no radial functions."""
    graph, layout = predictor.graph(structure), predictor.basis.layout(structure.numbers)
    size = sum(layout.sizes[i] * layout.sizes[j] for i, j in graph.pairs)
    return BlockMatrix(layout, graph.pairs, graph.shifts, np.random.default_rng(0).normal(size=size)).symmetrized()


def test_more_vacuum_shifts_by_a_multiple_of_the_overlap(predictor):
    low, high, open_cell = in_cell(12.0), in_cell(30.0), in_cell(12.0, (True, True, False))
    overlap = random_overlap(predictor, low)
    first, second, without = (predictor.predict([s], [overlap])[0].restricted_to(overlap) for s in (low, high, open_cell))
    envelope = end_of_blocks(predictor, low)
    shape = overlap.values * np.repeat(envelope, np.diff(overlap.offsets))
    mu = (first.values - without.values) @ shape / (shape @ shape)
    assert mu * 12.0 * 2.6 * 7.0 == pytest.approx(187, abs=60)  # the elements' mean moments and what the head adds
    assert np.abs(first.values - without.values - mu * shape).max() < 1e-12
    assert np.abs(second.values - without.values - mu * 12 / 30 * shape).max() < 1e-12


def end_of_blocks(predictor, structure) -> np.ndarray:
    graph, readout = predictor.graph(structure), predictor.network.readout
    return readout.end_smoothly(torch.from_numpy(np.linalg.norm(graph.vectors, axis=1)), readout.cutoff).numpy()


@pytest.mark.parametrize("improper", [False, True])
def test_the_shift_is_invariant(predictor, improper):
    """Rotation, translation and order of the atoms; two structures in one batch keep their own."""
    turn = Rotation.random(random_state=1).as_matrix() * (-1 if improper else 1)
    low, high = in_cell(12.0), in_cell(15.0)
    turned = replace(low, positions=low.positions @ turn.T + 0.3, cell=low.cell @ turn.T)
    order = [2, 0, 1]
    permuted = replace(low, numbers=low.numbers[order], positions=low.positions[order])
    shifts = [shift_of(predictor, [s]) for s in (low, turned, permuted)]
    assert np.abs(np.array(shifts) - shifts[0]).max() < 1e-10
    assert shift_of(predictor, [high, turned]) == pytest.approx([shifts[0][0] * 12 / 15, shifts[0][0]], abs=1e-10)


def shift_of(predictor, structures) -> list[float]:
    network = predictor.network
    graphs = [predictor.graph(s) for s in structures]
    batch = make_batch(graphs, network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)
    return network(batch).energy_zero.tolist()


def test_a_wrong_name_of_the_zero():
    with pytest.raises(ConfigError, match="energy_zero must be one of vacuum, cell-average, found 'fermi'"):
        make_config(energy_zero="fermi")
