"""Tables of the baseline and the spread by pair of elements."""

import pytest
import torch

from ase_tracegrad.nn.batch import make_batch
from tests.nn.synthetic import make_predictor


@pytest.fixture(scope="module")
def network():
    return make_predictor((1, 6, 22)).network


@pytest.fixture
def batch(network, hydrocarbon):
    graph = make_predictor((1, 6, 22)).graph(hydrocarbon)
    return make_batch([graph], network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)


def test_each_pair_has_the_tables_of_its_elements(network, batch):
    """Against one pair at a time, as a model of one element looks them up; 22 is known but absent."""
    readout = network.readout
    baseline, spread = readout.statistics(batch)
    types = set()
    for row in range(batch.n_pairs):
        t = int(batch.species[batch.receiver[row]]) * 3 + int(batch.species[batch.sender[row]])
        types.add(t)
        phi = readout.distance_basis(batch.distance[row : row + 1])
        assert (baseline[row] - phi @ readout.baseline[t]).abs().max() < 1e-13
        assert (spread[row] - phi / phi.sum() @ readout.spread[t]).abs().max() < 1e-13
    assert types == {0, 1, 3, 4}


def test_equal_tables_give_what_one_element_gives(network, batch, monkeypatch):
    """Where all pairs of elements share one table, the masks and the short way of a single element agree."""
    readout = network.readout
    for name in ("baseline", "spread"):
        monkeypatch.setitem(readout._buffers, name, getattr(readout, name)[:1].expand(9, -1, -1))
    several = readout.statistics(batch)
    monkeypatch.setattr(readout, "n_elements", 1)
    for x, y in zip(several, readout.statistics(batch), strict=True):
        assert (x - y).abs().max() < 1e-13
