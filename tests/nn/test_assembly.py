"""BlockMatrix -> padded tensors -> BlockMatrix."""

import numpy as np
import torch

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.nn.assembly import from_block_matrix, to_block_matrices
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.network import Prediction


def random_matrix(graph, layout, seed=0) -> BlockMatrix:
    """Random blocks, all different, on the pairs of the graph in another order."""
    rng = np.random.default_rng(seed)
    blocks = {}
    for k in rng.permutation(len(graph.pairs)):
        (i, j), shift = graph.pairs[k].tolist(), tuple(graph.shifts[k].tolist())
        blocks[i, j, shift] = rng.normal(size=(layout.sizes[i], layout.sizes[j]))
    return BlockMatrix.from_blocks(layout, blocks)


def test_round_trip_of_two_structures_in_one_batch(predictor, crystal, hydrocarbon):
    network, basis = predictor.network, predictor.basis
    graphs = [predictor.graph(s) for s in (crystal, hydrocarbon)]
    matrices = [random_matrix(g, basis.layout(g.structure.numbers), k) for k, g in enumerate(graphs)]
    options = {"message_cutoff": 3.0, "lmax": 0, "dtype": torch.float64}
    single = [make_batch([g], network.elements, **options) for g in graphs]
    padded = [from_block_matrix(m, g, b, network.shells, torch.float64) for m, g, b in zip(matrices, graphs, single, strict=True)]
    together = make_batch(graphs, network.elements, **options)
    # The tensors of one structure each, in the order the joint batch has.
    unsorted = [torch.empty_like(offsite) for offsite, _ in padded]
    for target, batch, (offsite, _) in zip(unsorted, single, padded, strict=True):
        target[batch.pair_order] = offsite
    prediction = Prediction(torch.cat(unsorted)[together.pair_order], torch.cat([onsite for _, onsite in padded]))
    for found, expected, graph in zip(
        to_block_matrices(graphs, together, prediction, basis, network.shells), matrices, graphs, strict=True
    ):
        assert np.array_equal(found.pairs, graph.pairs)
        assert np.array_equal(found.shifts, graph.shifts)
        assert np.array_equal(found.values, expected.restricted_to(found).values)


def test_blocks_that_are_not_stored_are_zero(light_predictor, hydrocarbon):
    network, basis = light_predictor.network, light_predictor.basis
    graph = light_predictor.graph(hydrocarbon)
    full = random_matrix(graph, basis.layout(hydrocarbon.numbers))
    near = full.distances(hydrocarbon.positions, hydrocarbon.cell) < 2.5
    batch = make_batch([graph], network.elements, message_cutoff=3.0, lmax=0, dtype=torch.float64)
    offsite, onsite = from_block_matrix(full.cut(near), graph, batch, network.shells, torch.float64)
    assert (offsite[batch.distance >= 2.5] == 0).all()
    assert (offsite[batch.distance < 2.5].abs().sum((1, 2)) > 0).all()
    assert (onsite.abs().sum((1, 2)) > 0).all()


def test_a_batch_knows_its_pairs(predictor, crystal, hydrocarbon):
    """Sorted by distance, reverses are reverses, near pairs come first, structures do not mix."""
    graphs = [predictor.graph(s) for s in (hydrocarbon, crystal)]
    batch = make_batch(graphs, predictor.network.elements, message_cutoff=3.0, lmax=1, dtype=torch.float64)
    assert (batch.distance.diff() >= 0).all()
    assert (batch.distance[: batch.n_near] < 3.0).all()
    assert (batch.distance[batch.n_near :] >= 3.0).all()
    assert torch.equal(batch.reverse[batch.reverse], torch.arange(batch.n_pairs))
    assert torch.equal(batch.receiver[batch.reverse], batch.sender)
    assert (batch.distance - batch.distance[batch.reverse]).abs().max() < 1e-12
    assert torch.equal(batch.structure[batch.receiver], batch.structure[batch.sender])
    assert batch.structure.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert [predictor.network.elements[k] for k in batch.species] == [6, 6, 1, 58, 1, 6, 22]
    for moved in (batch.to("cpu"), batch.to(torch.device("cpu"))):
        assert torch.equal(moved.distance, batch.distance)
        assert all(torch.equal(a, b) for a, b in zip(moved.rotations, batch.rotations, strict=True))
