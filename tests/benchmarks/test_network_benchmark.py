"""The network benchmark at its smallest sizes; its reference network is checked to be what it claims."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.graph import build_graph
from ase_tracegrad.nn.assembly import to_block_matrices
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.coupling import CommonShells
from ase_tracegrad.nn.network import Prediction
from ase_tracegrad.structure import Structure


@pytest.fixture
def benchmark(load_benchmark):
    return load_benchmark("network")


def test_linear(benchmark):
    row = benchmark.measure_linear(2, channels=3, edges=5, repeats=1)
    assert row["parameters"]["equal"] == row["parameters"]["o2"] > row["parameters"]["usual"]
    assert set(row["cpu_seconds"]) == {"o2_in_frame", "o2", "equal", "usual"}


def test_network(benchmark):
    row = benchmark.measure_network(benchmark.SMALLEST, repeat=1, repeats=1)
    assert (row["atoms"], row["pairs"]) == (2, 6)
    names = {"o2", "o2_tracegrad_two", "o2_tracegrad_all", "tensor_products"}
    for key in ("parameters", "training_cpu_seconds", "inference_cpu_seconds", "saved_bytes_per_pair"):
        assert set(row[key]) == names
        assert all(value > 0 for value in row[key].values())


def test_gates(benchmark):
    linear = [{"lmax": 4, "usual_over_o2": 9.0}, {"lmax": 6, "usual_over_o2": 20.0}]
    ratios = "training_ratio inference_ratio training_ratio_with_tracegrad_two saved_ratio tracegrad_overhead_two".split()
    gates = benchmark.compare_with_gates(linear, dict(zip(ratios, (9.0, 10.0, 8.0, 5.0, 0.2), strict=True)))
    assert gates["training step, times faster"] == {"target": 8, "found": 9.0}
    assert gates["saved activations, at most"] == {"target": 0.25, "found": 0.2}
    assert gates["linear map l = 6, usual filters, times faster"] == {"target": 14, "found": 20.0}


def test_tracegrad_stands_in_the_last_two_blocks(benchmark):
    networks = benchmark.make_networks(replace(benchmark.SMALLEST, n_blocks=3))
    present = [(b.node_tracegrad is not None, b.edge_tracegrad is not None) for b in networks["o2_tracegrad_two"].blocks]
    assert present == [(False, False), (False, True), (False, True)]
    assert networks["o2_tracegrad_two"].offsite_trace is None
    assert networks["o2_tracegrad_all"].offsite_trace is not None
    assert all(b.edge_tracegrad is None for b in networks["o2"].blocks)


def test_the_full_size_is_the_one_of_the_gates(benchmark):
    """8-atom graphene with about 480 pairs, s2p2d1."""
    batch, directions = benchmark.make_graphene_batch(benchmark.DEEPH_E3, 4)
    assert batch.n_atoms == 8
    assert 460 < batch.n_pairs < 500
    assert batch.n_near == batch.n_pairs
    assert directions.norm(dim=1).numpy() == pytest.approx(batch.distance.numpy(), rel=1e-6)
    assert CommonShells(benchmark.BASIS, [6]).size == 13


def test_saved_bytes_counts_every_storage_once(benchmark):
    layer = torch.nn.Linear(10, 10, bias=False)
    x = torch.randn(7, 10, requires_grad=True)
    # x is kept for the weight, its product for the square; the weight itself is a parameter.
    assert benchmark.saved_bytes(lambda: layer(x).square().sum(), layer) == 2 * 7 * 10 * 4


def test_the_reference_network_is_equivariant(benchmark):
    config = replace(benchmark.SMALLEST, hidden="3x0e+2x1o+1x1e+2x2e+1x2o", cutoff=3.0, message_cutoff=3.0, n_blocks=2)
    shells = CommonShells(benchmark.BASIS, [6])
    torch.manual_seed(0)
    network = benchmark.TensorProductNetwork(config, shells).float()
    structure = Structure([6, 6, 6], [[0, 0, 0], [1.3, 0.2, 0.1], [0.3, 1.4, -0.5]], np.zeros((3, 3)), [False] * 3)

    def predict(structure) -> BlockMatrix:
        graph = build_graph(structure, {6: 1.5})
        batch = make_batch([graph], [6], message_cutoff=3.0, lmax=4, dtype=torch.float32)
        directions = torch.from_numpy(graph.vectors[graph.n_onsite :][batch.pair_order]).float()
        return to_block_matrices([graph], batch, Prediction(*network(batch, directions)), benchmark.BASIS, shells)[0]

    before = predict(structure)
    assert before.is_hermitian(1e-6)
    for rotation in (Rotation.random(random_state=0).as_matrix(), -np.eye(3)):
        after = predict(replace(structure, positions=structure.positions @ rotation.T))
        for (i, j, r), block in before.items():
            expected = before.layout.rotation(i, rotation) @ block @ before.layout.rotation(j, rotation).T
            assert np.abs(after.block(i, j, r) - expected).max() < 1e-5 * max(1, np.abs(before.values).max())


# Stands for deephe3/model.py of the original code: its arguments, its graph, and the twin that is written from the publication.
NET = """
from torch import nn
from tests.nn.deeph_e3_twin import Twin

class Net(nn.Module):
    def __init__(self, *, use_sbf, **settings):
        super().__init__()
        assert not use_sbf
        self.twin = Twin(settings)

    def forward(self, data):
        vectors = data["edge_attr"][:, 1:]
        assert (vectors.norm(dim=1) - data["edge_attr"][:, 0]).abs().max() < 1e-6
        return None, self.twin(data.x, data["edge_index"].T, vectors, data.batch)
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "deephe3").mkdir()
    (tmp_path / "deephe3" / "__init__.py").write_text("raise ImportError('what training needs is not here')")
    (tmp_path / "deephe3" / "model.py").write_text(NET)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("deephe3")]:
        del sys.modules[name]


def test_the_original_code_from_a_checkout(benchmark, checkout):
    original = benchmark.load_original(checkout)
    row = benchmark.measure_network(benchmark.SMALLEST, repeat=1, repeats=1, original=original)
    for key in ("parameters", "training_cpu_seconds", "inference_cpu_seconds", "saved_bytes_per_pair"):
        assert row[key]["original"] > 0
    assert row["original_training_ratio"] == row["training_cpu_seconds"]["original"] / row["training_cpu_seconds"]["o2"]
    linear = [{"lmax": 4, "usual_over_o2": 9.0}, {"lmax": 6, "usual_over_o2": 20.0}]
    gates = benchmark.compare_with_gates(linear, row)
    assert gates["training step against the original code, times faster"]["found"] == row["original_training_ratio"]


def test_the_original_sees_every_pair_with_its_vector(benchmark, checkout):
    """The blocks that the twin gives to the pairs of the batch, on-site ones last."""
    shells = CommonShells(benchmark.BASIS, [6])
    network = benchmark.OriginalNetwork(benchmark.load_original(checkout), benchmark.SMALLEST, shells).float()
    batch, directions = benchmark.make_graphene_batch(benchmark.SMALLEST, 4, repeat=1)
    with torch.no_grad():
        offsite, onsite = network(batch, directions)
        atoms = torch.arange(batch.n_atoms)
        pairs = torch.stack([torch.cat([batch.receiver, atoms]), torch.cat([batch.sender, atoms])], dim=1)
        vectors = torch.cat([directions, torch.zeros(batch.n_atoms, 3)])
        expected = network.net.twin(batch.species, pairs, vectors, batch.structure) @ network.coupling
    assert torch.equal(torch.cat([offsite, onsite]).flatten(1), expected)
    assert (len(offsite), len(onsite)) == (batch.n_pairs, batch.n_atoms)


def test_a_checkout_that_cannot_be_used_says_what_it_needs(benchmark, checkout, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["network.py", "--checkout", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as left:
        benchmark.main()
    assert left.value.code == 2
    assert "expected a checkout of DeepH-E3 with deephe3/model.py, found none: git clone" in capsys.readouterr().err
    (checkout / "deephe3" / "model.py").write_text("import a_package_that_nobody_has")
    with pytest.raises(ImportError, match=r"a_package_that_nobody_has.*needs: pip install torch_scatter torch_geometric"):
        benchmark.load_original(checkout)
