"""Training HarmoSE: stage 1, then the second stage, in one command that can be interrupted in either."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ase_tracegrad.fit import run
from ase_tracegrad.fit.config import ConfigError, RefineConfig
from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.run import split_stages, train_model
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.nn.checkpoint import load_checkpoint
from tests.fit.cases import make_training_config

HARMOSE = {"n_blocks": 1, "width": 8, "heads": 2, "harmonics_lmax": 2, "n_radial": 8}


def make_config(store, out, **refine):
    config = make_training_config(store, out, schedule={"epochs": 2}, refine={"epochs": 3, "weak_from": 0.3, **refine})
    return replace(config, network=replace(config.network, harmose=replace(config.network.harmose, **HARMOSE)))


def weights(path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path, torch.float32)[0].state_dict()


def interrupt(monkeypatch, stage: str, epoch: int):
    """Ctrl-C at the beginning of one epoch of 'first' or 'second', once."""
    run_epoch = Trainer._run_epoch

    def stop(trainer):
        if trainer._refines == (stage == "second") and trainer.epoch == epoch:
            monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)
            raise KeyboardInterrupt
        return run_epoch(trainer)

    monkeypatch.setattr(Trainer, "_run_epoch", stop)


def test_both_stages(store, tmp_path):
    """Stage 1 stays as it was trained, the second stage has learned something."""
    path = train_model(make_config(store, tmp_path))
    first, both = weights(tmp_path / "stage-1" / "model.safetensors"), weights(path)
    assert set(both) - set(first) == {name for name in both if name.startswith("refiner.")} != set()
    assert all(torch.equal(both[name], tensor) for name, tensor in first.items())
    assert both["refiner.head.weight"].abs().max() > 0
    cards = [load_checkpoint(file, torch.float32)[2] for file in (tmp_path / "stage-1" / "model.safetensors", path)]
    assert cards[0].equivariance == {}
    assert cards[1].equivariance["max"] > 0


def test_the_unit_is_what_stage_one_left(store, tmp_path):
    """Root mean square error of stage 1 on the training data, in spreads, off and on site."""
    path = train_model(make_config(store, tmp_path))
    network, *_ = load_checkpoint(path, torch.float64)
    squares, counts = np.zeros(2), np.zeros(2)
    with StoreReader(store) as reader, torch.no_grad():
        for name in reader.names:
            if reader.split(name) == "train":
                graph = label_graph(name, reader[name], network, torch.float64)
                found, readout = network(graph.batch, refine=False), network.readout
                ended = graph.offsite * readout.envelope(graph.batch)[:, None, None]
                spread = readout.statistics(graph.batch)[1], readout.onsite_spread[graph.batch.species]
                coupled = (
                    readout.couple_offsite(found.offsite - ended, graph.batch),
                    readout.couple_onsite(found.onsite - graph.onsite),
                )
                for k in range(2):
                    error = (coupled[k] / spread[k]).numpy()
                    squares[k], counts[k] = squares[k] + np.sum(error**2), counts[k] + error.size
    assert network.refiner.unit.numpy() == pytest.approx(np.sqrt(squares / counts), rel=1e-4)


def test_joint_training_changes_stage_one(store, tmp_path):
    path = train_model(make_config(store, tmp_path, joint=True))
    first, both = weights(tmp_path / "stage-1" / "model.safetensors"), weights(path)
    assert any(not torch.equal(both[name], tensor) for name, tensor in first.items())


@pytest.mark.parametrize(("stage", "epoch"), [("first", 1), ("second", 0), ("second", 2)])
def test_an_interrupted_run_goes_on(store, tmp_path, monkeypatch, stage, epoch):
    """In either stage, and to the same weights: rotations come from the seed too."""
    whole = train_model(make_config(store, tmp_path / "whole"))
    config = make_config(store, tmp_path / "broken")
    interrupt(monkeypatch, stage, epoch)
    with pytest.raises(KeyboardInterrupt):
        train_model(config)
    resumed = train_model(config, resume=True)
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_second_stage_of_a_trained_model(store, tmp_path):
    """``start`` names stage 1: nothing but the second stage is trained."""
    config = make_config(store, tmp_path / "one")
    stage_one = Path(split_stages(config)[0].out) / "model.safetensors"
    train_model(config)
    train_model(replace(config, out=str(tmp_path / "two"), start=str(stage_one)))
    assert not (tmp_path / "two" / "stage-1").exists()
    one, two = weights(tmp_path / "one" / "model.safetensors"), weights(tmp_path / "two" / "model.safetensors")
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items())


def test_without_a_second_stage_nothing_changes(store, tmp_path):
    config = make_training_config(store, tmp_path)
    assert split_stages(config) == (None, config)


def test_turning_begins_by_schedule(store, tmp_path):
    config = make_config(store, tmp_path, weak_from=0.4, strong_from=0.7)
    first, last = split_stages(config)
    run.train_model(first)
    with StoreReader(store) as reader:
        trainer = Trainer(last, reader.basis, sorted(reader.basis.atoms))
    total = trainer.schedule.total_steps
    angles = {}
    for done in (0.1, 0.5, 0.9):
        trainer.step = math.ceil(done * total)
        picked = trainer._pick_rotations(40)
        angles[done] = 0.0 if picked[0] is None else max(np.arccos((np.trace(r) - 1) / 2) for r in picked)
    assert angles[0.1] == 0
    assert 0.3 * math.pi / 2 < angles[0.5] < 0.2 * math.pi < 0.4 * math.pi < angles[0.9] < 0.5 * math.pi


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"learning_rate": 0.0}, {"strong": 1.5}, {"weak_from": -0.1}])
def test_impossible_settings(settings):
    with pytest.raises(ConfigError, match=f"refine.{next(iter(settings))}"):
        RefineConfig(**settings)
