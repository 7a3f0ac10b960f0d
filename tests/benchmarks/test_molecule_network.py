"""The benchmark of QHNet against e3nn tensor products, with small layers: it runs, and compares two equal networks."""

from ase_tracegrad.nn.config import QHNetConfig


def test_both_networks_are_the_same(load_benchmark, monkeypatch):
    benchmark = load_benchmark("molecule_network")
    monkeypatch.setattr(benchmark.qhnet_twin, "OPTIONS", dict(benchmark.qhnet_twin.OPTIONS))
    layers = QHNetConfig(hidden=4, lmax=2, bottleneck=3, n_layers=2, n_pair_layers=1, n_radial=8, message_hidden=6)
    result = benchmark.measure(layers, 1, name="H2O")
    assert result["relative_difference"] < 1e-4
    assert result["atoms"] == 3
    assert result["pairs"] == 6
    assert result["inference_ratio"] > 0
    assert result["training_ratio"] > 0
