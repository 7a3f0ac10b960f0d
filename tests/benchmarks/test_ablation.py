"""The ablation at its smallest size: one epoch on two-atom cells."""

import pytest
import torch

from ase_tracegrad.io.store import StoreWriter


@pytest.fixture
def data(tmp_path, graphene_store):
    path = tmp_path / "graphene.h5"
    with StoreWriter(path) as store:
        for name, split in (
            ("x1-000", "train"),
            ("x1-001", "validation"),
            ("x2-000", "test"),
            ("x3-000", "test"),
            ("x4-000", "test"),
        ):
            sample = graphene_store["displaced"]
            sample.info["split"] = split
            store.add(name, sample)
    return path


def test_one_variant_is_trained_evaluated_and_summarised(load_benchmark, data, tmp_path, monkeypatch):
    ablation = load_benchmark("ablation_tracegrad")
    monkeypatch.setattr(ablation, "VARIANTS", {"TraceGrad": ablation.VARIANTS["TraceGrad"]})
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        figures = ablation.run(ablation.make_config(str(data), tmp_path / "work", "TraceGrad", 0, 1))
    finally:
        torch.set_num_threads(before)
    assert set(figures) == {"parameters", "cpu_seconds", "displaced 2x2", "displaced 3x3"}
    assert figures["displaced 2x2"] == figures["displaced 3x3"]  # the same structure under two names
    summary = ablation.summarize({"TraceGrad-0": figures, "TraceGrad-1": figures})["TraceGrad"]
    assert summary["seeds"] == 2
    assert summary["displaced 3x3 mae_all"] == {"mean": figures["displaced 3x3"]["mae_all"], "std": 0.0}
