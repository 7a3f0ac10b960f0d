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
from ase_tracegrad.nn.rotated import random_rotation
from tests.fit.cases import make_sample, make_training_config, write_store

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
    assert cards[1].training_set.endswith("3 epochs of the second stage")


@pytest.mark.parametrize("energy_zero", ["vacuum", "cell-average"])
def test_the_unit_is_what_stage_one_left(tmp_path, energy_zero):
    """Root mean square error of stage 1 on the training data, in spreads, off and on site, between orbitals that exist."""
    heights = iter([9.0, 12.0, 9.0, 9.0]) if energy_zero == "cell-average" else iter([None] * 4)
    seeds = {9.0: 0, 12.0: 0}  # the energy zero needs one structure in two cells
    path = write_store(
        tmp_path / "data.h5",
        make=lambda seed, **info: make_sample(seeds.get(height := next(heights), seed), height=height, **info),
    )
    config = make_config(path, tmp_path / "run")
    model = train_model(replace(config, network=replace(config.network, energy_zero=energy_zero)))
    network, *_ = load_checkpoint(model, torch.float64)
    squares, counts, readout = np.zeros(2), np.zeros(2), network.readout
    with StoreReader(path) as reader, torch.no_grad():
        for name in [name for name in reader.names if reader.split(name) == "train"]:
            graph = label_graph(name, reader[name], network, torch.float64)
            found = network(graph.batch, refine=False)
            zero = 0 if found.energy_zero is None else found.energy_zero
            end = readout.envelope(graph.batch)[:, None, None]
            errors = (
                found.offsite - (graph.offsite - zero * graph.offsite_overlap) * end,
                found.onsite - (graph.onsite - zero * graph.onsite_overlap),
            )
            pairs = list(zip(errors, masks(graph), strict=True))
            assert all(error[mask == 0].abs().max() > 0 for error, mask in pairs), "nothing to leave out"
            offsite, onsite = (error * mask for error, mask in pairs)
            spread = readout.statistics(graph.batch)[1], readout.onsite_spread[graph.batch.species]
            coupled = readout.couple_offsite(offsite, graph.batch) / spread[0], readout.couple_onsite(onsite) / spread[1]
            squares += [float(part.square().sum()) for part in coupled]
            counts += [float(mask.sum()) for mask in masks(graph)]
    assert network.refiner.unit.numpy() == pytest.approx(np.sqrt(squares / counts), rel=1e-4)


def masks(graph):
    return graph.offsite_mask, graph.onsite_mask


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


def test_a_run_may_move(store, tmp_path, monkeypatch):
    """In the second stage too, whose beginning lies in the folder."""
    whole = train_model(make_config(store, tmp_path / "whole"))
    interrupt(monkeypatch, "second", 2)
    with pytest.raises(KeyboardInterrupt):
        train_model(make_config(store, tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    resumed = train_model(make_config(store, tmp_path / "there"), resume=True)
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(whole).items())


def test_a_finished_stage_one_of_other_settings_is_refused(store, tmp_path, monkeypatch):
    config = make_config(store, tmp_path)
    interrupt(monkeypatch, "second", 1)
    with pytest.raises(KeyboardInterrupt):
        train_model(config)
    with pytest.raises(ValueError, match=r"written with other settings: schedule.epochs = 2 \(now 50\)"):
        train_model(replace(config, schedule=replace(config.schedule, epochs=50)), resume=True)


def test_a_folder_in_use_is_refused_before_anything_is_trained(store, tmp_path):
    train_model(make_training_config(store, tmp_path))
    with pytest.raises(ValueError, match="holds another run"):
        train_model(make_config(store, tmp_path))
    assert not (tmp_path / "stage-1").exists()


def test_the_second_stage_does_not_stop_early(store, tmp_path):
    """Validation structures are never turned, so they get worse as soon as training turns its own."""
    config = make_config(store, tmp_path)
    first, last = split_stages(replace(config, schedule=replace(config.schedule, early_stop=3)))
    assert (first.schedule.early_stop, last.schedule.early_stop) == (3, 0)


def test_a_second_stage_goes_on_from_a_second_stage(store, tmp_path):
    """Its unit stays with its weights; one of another size is refused."""
    path = train_model(make_config(store, tmp_path / "one"))
    config = replace(make_config(store, tmp_path / "two"), start=str(path))
    again = train_model(config)
    assert torch.equal(weights(again)["refiner.unit"], weights(path)["refiner.unit"])
    wider = replace(
        config, out=str(tmp_path / "three"), network=replace(config.network, harmose=replace(config.network.harmose, width=12))
    )
    with pytest.raises(ValueError, match=r"start: .* has other network settings: harmose = .*'width': 8"):
        train_model(wider)


def test_both_stages_are_planned(store, tmp_path):
    config = make_config(store, tmp_path)
    text, problems = run.plan_run(config)
    assert not problems
    assert "\nsteps: 2 per epoch, 4 at most" in text
    assert "\nsteps of the second stage: 2 per epoch, 6 at most" in text
    train_model(split_stages(config)[0])
    assert f"run: {tmp_path / 'stage-1'} holds a run" in run.plan_run(config)[0]


def test_the_second_stage_of_a_trained_model(store, tmp_path):
    """``start`` names stage 1: nothing but the second stage is trained."""
    config = make_config(store, tmp_path / "one")
    stage_one = Path(split_stages(config)[0].out) / "model.safetensors"
    train_model(config)
    train_model(replace(config, out=str(tmp_path / "two"), start=str(stage_one)))
    assert not (tmp_path / "two" / "stage-1").exists()
    one, two = weights(tmp_path / "one" / "model.safetensors"), weights(tmp_path / "two" / "model.safetensors")
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items())


def test_a_frozen_stage_one_keeps_its_tables(store, tmp_path):
    """Also on other data than it was trained on."""
    config = make_config(store, tmp_path / "one")
    train_model(split_stages(config)[0])
    other = write_store(tmp_path / "other.h5", make=lambda seed, **info: make_sample(seed + 50, **info))
    stage_one = tmp_path / "one" / "stage-1" / "model.safetensors"
    path = train_model(replace(config, data=str(other), out=str(tmp_path / "two"), start=str(stage_one)))
    assert all(torch.equal(weights(path)[name], tensor) for name, tensor in weights(stage_one).items())


def test_examples_are_turned_with_exact_labels(store, tmp_path):
    """Turning changes the loss of the second stage, and nothing of that of stage 1."""
    first, last = split_stages(make_config(store, tmp_path))
    run.train_model(first)
    with StoreReader(store) as reader:
        trainer = Trainer(last, reader.basis, sorted(reader.basis.atoms))
    example, rotation = trainer._make_example(trainer.data["train"][0]), random_rotation(np.random.default_rng(3))
    (plain, _), (turned, _) = (trainer._loss(example, 0, r) for r in (None, rotation))
    assert turned.item() == pytest.approx(plain.item(), rel=1e-4)
    torch.nn.init.normal_(trainer.network.refiner.head.weight, std=0.3)
    (plain, _), (turned, _) = (trainer._loss(example, 0, r) for r in (None, rotation))
    assert abs(turned.item() / plain.item() - 1) > 1e-3


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
