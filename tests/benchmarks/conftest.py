"""The scripts of benchmarks/ as modules: they import their neighbours by bare name, as when they are run."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.config import HarmoSEConfig, NetworkConfig
from ase_tracegrad.nn.network import HamiltonianNetwork

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load_benchmark(monkeypatch):
    """load_benchmark(name) imports benchmarks/name.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def harmose_files(tmp_path, graphene_store) -> tuple[Path, Path]:
    """A model with random weights in both stages, and a packed file with graphene's primitive cell as test structure."""
    sample = graphene_store["perfect"]
    data, model = tmp_path / "graphene.h5", tmp_path / "model.safetensors"
    sample.info["split"] = "test"
    with StoreWriter(data) as store:
        store.add("prim", sample)
    irreps = "8x0e+4x1o+2x1e+2x2e"
    sizes = {"cutoff": 3.0, "message_cutoff": 2.6, "n_blocks": 1, "embedding": 8, "n_radial": 8, "radial_hidden": 8}
    second = HarmoSEConfig(n_blocks=1, width=8, heads=2, harmonics_lmax=2, n_radial=8)
    config = NetworkConfig(**sizes, hidden="8x0e+4x1o+2x2e", edge_last=irreps, node_last=irreps, harmose=second)
    torch.manual_seed(0)
    network = HamiltonianNetwork(config, sample.basis, [6])
    torch.nn.init.normal_(network.refiner.head.weight, std=0.05)
    save_checkpoint(model, network, sample.basis, ModelCard("random", "for tests", [6], "basis", "code", "PBE", 3.0))
    return model, data
