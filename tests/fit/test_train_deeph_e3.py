"""The backbone 'deeph-e3' in the trainer: it learns, with every switch of TraceGrad, and its state resumes bit by bit."""

import numpy as np
import pytest
import torch

from ase_tracegrad.fit.config import TrainingConfig
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.nn.config import config_from_dict
from ase_tracegrad.nn.deeph_e3 import DeepHE3Network
from tests.fit.cases import make_sample, write_store

LAYERS = {"hidden": "8x0e+4x1o+2x2e", "filter_lmax": 2, "n_blocks": 1, "embedding": 8, "n_radial": 16, "radial_cutoff": 4.0}
SWITCHES = {
    "none": {"nodes": False, "edges": False, "decoder": False},
    "trace loss only": {"nodes": False, "gradient": False},
    "gradient only": {"nodes": False, "decoder": False},
    "both": {"nodes": False},
}


def make_trainer(folder, switches, **changes) -> Trainer:
    data = folder / "chains.h5"
    if not data.exists():
        write_store(data)
    settings = {
        "data": str(data),
        "out": str(folder / "run"),
        "validate_every": 1,
        "validate_bands": 0,
        "network": {
            "backbone": "deeph-e3",
            "cutoff": 4.0,
            "deeph_e3": LAYERS,
            "tracegrad": {"hidden": 8, "invariants": 6, **SWITCHES[switches]},
        },
        "schedule": {"epochs": 2},
        **changes,
    }
    basis = make_sample().basis
    return Trainer(config_from_dict(TrainingConfig, settings), basis, [1, 6])


@pytest.mark.parametrize("switches", SWITCHES)
def test_a_few_steps_reduce_the_loss(tmp_path, switches):
    trainer = make_trainer(tmp_path, switches, schedule={"epochs": 30}, optimizer={"learning_rate": 1e-2})
    assert isinstance(trainer.network, DeepHE3Network)
    losses = [trainer._run_epoch()["loss"] for _ in range(12)]
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < 0.6 * losses[0]


@pytest.mark.parametrize("label", ["raw", "log", "layer-norm"])
def test_trace_labels(tmp_path, label):
    """Every kind of label reaches the decoders of pairs and of on-site pairs."""
    trainer = make_trainer(tmp_path, "both", loss={"trace_label": label, "trace_weight": 0.3})
    parts = trainer._run_epoch()
    assert np.isfinite(parts["trace_loss"])
    assert parts["trace_loss"] > 0
    assert trainer.network.offsite_trace.layers[0].weight.grad.abs().max() > 0
    assert trainer.network.onsite_trace.layers[0].weight.grad.abs().max() > 0


def test_resume(tmp_path):
    whole = make_trainer(tmp_path, "both")
    whole.run(progress=False)
    again = make_trainer(tmp_path, "both")
    again.resume()
    assert again.epoch == 2
    for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)
