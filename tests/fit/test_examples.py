"""Several structures as one example: the same loss and gradients as one by one."""

import pytest
import torch

from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.examples import Example, join_examples
from ase_tracegrad.fit.loss import element_loss, trace_loss
from ase_tracegrad.fit.targets import trace_labels
from ase_tracegrad.nn.batch import join_batches
from tests.fit.test_train_qhnet import make_molecule, make_trainer


@pytest.fixture
def trainer(tmp_path):
    return make_trainer(tmp_path)


def make_examples(network) -> list[Example]:
    graphs = [label_graph(f"molecule-{k}", make_molecule(k), network, torch.float64) for k in range(3)]
    return [Example(g, network.readout.envelope(g.batch), trace_labels(network, g, "layer-norm")) for g in graphs]


def test_joined_is_the_same_as_one_by_one(trainer):
    network = trainer.network.double()
    examples = make_examples(network)
    joined = join_examples(examples)
    predictions = [network(example.graph.batch, with_traces=True) for example in examples]
    together = network(joined.graph.batch, with_traces=True)
    # The molecules have equally many elements, so the mean over all is the mean of the means.
    for loss in (
        lambda p, e: element_loss(p, e.graph, e.envelope, 2.0, "mse+l1"),
        lambda p, e: trace_loss(p, e.traces),
    ):
        one_by_one = sum(loss(p, e) for p, e in zip(predictions, examples, strict=True)) / 3
        assert float(loss(together, joined).detach()) == pytest.approx(float(one_by_one.detach()), rel=1e-12)
    assert torch.cat([p.onsite for p in predictions]).allclose(together.onsite, atol=1e-12)


def test_a_joined_batch_knows_its_pairs(trainer):
    examples = make_examples(trainer.network.double())
    batch, order = join_batches([example.graph.batch for example in examples])
    assert (batch.distance.diff() >= 0).all()
    assert torch.equal(batch.receiver[batch.reverse], batch.sender)
    assert torch.equal(batch.structure[batch.receiver], batch.structure[batch.sender])
    assert torch.equal(batch.structure.bincount(), torch.tensor([4, 4, 4]))
    assert torch.equal(order.sort().values, torch.arange(batch.n_pairs))
    assert sorted(batch.pair_order.tolist()) == list(range(batch.n_pairs))


def test_one_is_left_alone(trainer):
    (example, *_) = make_examples(trainer.network.double())
    assert join_examples([example]) is example


def test_training_together(tmp_path):
    """Two in one pass, twice in a step, learn as much as four passes do; crystals of different volume cannot be joined."""
    losses = {}
    for together in (1, 2):
        trainer = make_trainer(
            tmp_path, schedule={"epochs": 20}, optimizer={"learning_rate": 2e-2, "batch_size": 4, "together": together}
        )
        losses[together] = [trainer._run_epoch()["loss"] for _ in range(3)]
    assert losses[2] == pytest.approx(losses[1], rel=1e-3)
    with pytest.raises(ValueError, match="together > 1 joins molecules"):
        make_trainer(tmp_path, optimizer={"together": 2}, loss={"band_weight": 1.0})
