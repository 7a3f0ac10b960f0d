import pytest
import torch

from ase_tracegrad.fit.dataset import labels_hash
from ase_tracegrad.fit.device import choose_training_device, to_device
from ase_tracegrad.fit.labelled import LabelledGraphs, count_bytes, load_labelled
from tests.fit.cases import make_network, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("data") / "chains.h5", train=5, validation=2, test=0)


@pytest.fixture(scope="module")
def network():
    return make_network().float()


def test_graphs_beyond_the_limit_are_read_again(store, network):
    """The same graphs in the same order, whether they stay in memory or not."""
    data = load_labelled(store, network, ("train", "validation"))
    one = count_bytes(data["train"][0])
    capped = load_labelled(store, network, ("train", "validation"), memory=4 * one)
    assert len(capped["train"].kept) == 2
    assert len(capped["validation"].kept) == 1
    assert [g.name for g in capped["train"]] == [g.name for g in data["train"]] == capped["train"].names
    assert labels_hash(capped["train"]) == labels_hash(data["train"])
    order = [4, 0, 3, 3, 1]
    assert [g.name for g in capped["train"].in_order(order)] == [data["train"].names[k] for k in order]
    assert torch.equal(capped["train"][4].offsite, data["train"][4].offsite)


def test_at_least_one_graph_stays(store, network):
    graphs = LabelledGraphs(store, ["chain-000", "chain-001"], network, memory=1)
    assert len(graphs.kept) == 1
    assert graphs.keeps(graphs.kept[0].name)
    assert len(list(graphs)) == 2


def test_an_error_of_the_background_reader_arrives(store, network):
    graphs = LabelledGraphs(store, ["chain-000", "chain-001"], network, memory=1)
    graphs.names.append("nowhere")
    with pytest.raises(KeyError, match="nowhere"):
        list(graphs)


def test_limit_takes_the_first(store, network):
    assert load_labelled(store, network, ("train",), limit=2)["train"].names == ["chain-000", "chain-001"]


def test_every_tensor_moves(store, network):
    """'meta' stands for a device that is not the processor."""
    graph = load_labelled(store, network, ("train",), limit=1)["train"][0]
    moved = to_device(graph, torch.device("meta"))
    assert moved.offsite.is_meta
    assert moved.onsite_mask.is_meta
    assert moved.batch.distance.is_meta
    assert all(rotation.is_meta for rotation in moved.batch.rotations)
    assert moved.sample is graph.sample
    assert moved.graph is graph.graph
    assert to_device(graph, torch.device("cpu")) is graph


def test_a_device_that_is_not_there(monkeypatch):
    assert choose_training_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device 'cuda' cannot be used"):
            choose_training_device("cuda")
        monkeypatch.setenv("LOCAL_RANK", "1")
        with pytest.raises(ValueError, match="device 'cuda:1' cannot be used"):
            choose_training_device("cuda")
