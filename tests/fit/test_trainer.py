import csv
import json
import math
import os
from dataclasses import replace

import pytest
import torch

from ase_tracegrad.fit.export import export_model
from ase_tracegrad.fit.metrics import BandReference, hamiltonian_error
from ase_tracegrad.fit.run import plan_run, train_model
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.nn.checkpoint import load_checkpoint
from ase_tracegrad.nn.predictor import load_model
from tests.fit.cases import make_sample, make_training_config, write_store

EVERYTHING = {
    "loss": {"onsite_weight": 2.0, "band_weight": 0.3, "band_start": 0.3, "band_kpts": 3, "trace_decay": True},
    "optimizer": {"batch_size": 2, "clip": 0.5},  # every step is clipped
}


def make_trainer(store, out, **changes) -> Trainer:
    config = make_training_config(store, out, **changes)
    with StoreReader(store) as reader:
        basis = reader.basis
    return Trainer(config, basis, [1, 6])


def read_log(out) -> list[dict]:
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def weights(trainer) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v for n in ("network", "average") for k, v in getattr(trainer, n).state_dict().items()}


def test_a_tiny_network_learns(store, tmp_path):
    """Two samples by heart: both losses fall far below what the baseline gave."""
    trainer = make_trainer(
        store, tmp_path, schedule={"epochs": 48}, validate_every=48, optimizer={"ema": 0.8, "learning_rate": 2e-2}
    )
    untrained = trainer.evaluate(trainer.data["train"], 0)
    start = trainer._run_epoch()
    trainer.run(progress=False)
    (row,) = read_log(tmp_path)
    assert float(row["loss"]) < 0.4 * start["loss"]
    assert 0 < float(row["trace_loss"]) < 0.9 * start["trace_loss"]
    assert trainer.evaluate(trainer.data["train"], 0)["mae_all"] < 0.4 * untrained["mae_all"]


def test_equal_seeds_give_equal_runs(store, tmp_path):
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer = make_trainer(store, tmp_path / name, seed=seed, schedule={"epochs": 1}, **EVERYTHING)
        trainer.run(progress=False)
        runs.append(weights(trainer))
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])
    assert not all(torch.equal(runs[0][k], runs[2][k]) for k in runs[0])


@pytest.mark.parametrize("kind", ["one-cycle", "plateau", "step"])
def test_a_resumed_run_is_bit_exact(store, tmp_path, monkeypatch, kind):
    changes = EVERYTHING | {"schedule": {"epochs": 4, "kind": kind, "patience": 0, "step_start": 1, "step_every": 2}}
    whole = make_trainer(store, tmp_path / "whole", **changes)
    whole.run(progress=False)

    broken = make_trainer(store, tmp_path / "broken", **changes)
    run_epoch = broken._run_epoch

    def stop_in_epoch_three():
        if broken.epoch == 2:
            raise KeyboardInterrupt
        return run_epoch()

    monkeypatch.setattr(broken, "_run_epoch", stop_in_epoch_three)
    with pytest.raises(KeyboardInterrupt):
        broken.run(progress=False)
    resumed = make_trainer(store, tmp_path / "broken", **changes)
    torch.manual_seed(99)  # whatever the new process did before
    resumed.resume()
    assert resumed.epoch == 2
    resumed.run(progress=False)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(resumed)[name], tensor), name
    logs = [[{k: v for k, v in row.items() if k != "cpu_seconds"} for row in read_log(tmp_path / d)] for d in ("whole", "broken")]
    assert logs[0] == logs[1]
    assert [row["epoch"] for row in logs[0]] == ["1", "2", "3", "4"]


def test_a_state_holds_what_decides_the_next_step(store, tmp_path):
    trainer = make_trainer(store, tmp_path)
    trainer.epoch, trainer.step, trainer.running_norm, trainer.seconds = 3, 17, 0.25, 4.5
    trainer.schedule.state = {"factor": 0.5, "best": 1.25, "waited": 2, "cooling": 1, "lowest": 1.0, "stale": 3}
    trainer.order.manual_seed(5)
    trainer.save_state()
    resumed = make_trainer(store, tmp_path)
    resumed.resume()
    for name in ("epoch", "step", "running_norm", "seconds"):
        assert getattr(resumed, name) == getattr(trainer, name), name
    assert resumed.schedule.state == trainer.schedule.state
    assert torch.equal(resumed.order.get_state(), trainer.order.get_state())


def test_rows_after_the_saved_state_are_dropped(store, tmp_path):
    trainer = make_trainer(store, tmp_path)
    trainer.run(progress=False)
    with open(tmp_path / "log.csv", "a") as file:
        file.write("3,0,0,0\n")
    again = make_trainer(store, tmp_path)
    again.resume()
    again.run(progress=False)
    assert [row["epoch"] for row in read_log(tmp_path)] == ["1", "2"]


def test_a_new_run_does_not_overwrite_another(store, tmp_path):
    make_trainer(store, tmp_path).run(progress=False)
    with pytest.raises(ValueError, match="holds another run: continue it with --resume"):
        make_trainer(store, tmp_path).run(progress=False)
    assert [row["epoch"] for row in read_log(tmp_path)] == ["1", "2"]


def test_the_folder_of_a_run_is_checked_before_its_data_are_read(store, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").touch()
    config = make_training_config(store, tmp_path / "run")
    monkeypatch.setattr("ase_tracegrad.fit.run.Trainer", None)
    with pytest.raises(ValueError, match="holds another run: continue it with --resume"):
        train_model(config)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train_model(replace(config, out=str(tmp_path / "other")), resume=True)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match=r"nothing can be written to the folder .*other: choose another with --set out="):
        train_model(replace(config, out=str(tmp_path / "other")))


def test_the_global_generator_is_left_alone(store, tmp_path):
    before = torch.get_rng_state()
    make_trainer(store, tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_finished_run_has_nothing_left_to_do(store, tmp_path):
    trainer = make_trainer(store, tmp_path)
    trainer.run(progress=False)
    again = make_trainer(store, tmp_path)
    again.resume()
    again.run(progress=False)
    assert all(torch.equal(a, weights(trainer)[k]) for k, a in weights(again).items())
    assert [row["epoch"] for row in read_log(tmp_path)] == ["1", "2"]


def test_resume_refuses_other_settings_and_empty_folders(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        make_trainer(store, tmp_path).resume()
    make_trainer(store, tmp_path).run(progress=False)
    with pytest.raises(ValueError, match="written with other settings"):
        make_trainer(store, tmp_path, schedule={"epochs": 9}).resume()


@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_resume_refuses_a_damaged_state(store, tmp_path, kept):
    trainer = make_trainer(store, tmp_path)
    trainer.save_state()
    content = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(content[: kept if kept >= 1 else int(kept * len(content))])
    with pytest.raises(ValueError, match=r"state\.pt is damaged, start the run anew"):
        trainer.resume()


def test_what_a_run_writes(store, tmp_path):
    trainer = make_trainer(store, tmp_path, **EVERYTHING)
    trainer.run(progress=False)
    assert json.loads((tmp_path / "config.json").read_text())["loss"]["onsite_weight"] == 2.0
    row = read_log(tmp_path)[-1]
    errors = "mae_all mae_onsite mae_offsite mae_gauge cha_s cha_b band_rmse band_rmse_gauge band_max gap_error"
    for key in f"epoch cpu_seconds loss trace_loss band_loss {errors}".split():
        assert math.isfinite(float(row[key])), key
    assert not list(tmp_path.glob("*.part"))


def test_a_gradient_that_is_not_finite_stops_the_run(store, tmp_path):
    trainer = make_trainer(store, tmp_path)
    with torch.no_grad():
        trainer.network.atom_embedding.weight[0, 0] = math.nan
    before = trainer.network.onsite_head.natural[0].clone()
    with pytest.raises(FloatingPointError, match=r"not finite at step 0: lower optimizer\.learning_rate"):
        trainer.run(progress=False)
    assert torch.equal(trainer.network.onsite_head.natural[0], before)


def test_gradients_are_clipped_at_a_multiple_of_their_running_norm(store, tmp_path):
    trainer = make_trainer(store, tmp_path, optimizer={"clip": 1.5})
    parameter = trainer.network.onsite_head.natural[0]

    def clip(norm):
        trainer.optimizer.zero_grad()
        parameter.grad = torch.full_like(parameter, norm / math.sqrt(parameter.numel()))
        trainer._clip_gradients()
        return float(parameter.grad.norm())

    assert clip(8.0) == pytest.approx(8.0)  # nothing to compare with yet
    assert trainer.running_norm == pytest.approx(8.0)
    assert clip(10.0) == pytest.approx(10.0)
    running = trainer.running_norm
    assert running == pytest.approx(0.98 * 8 + 0.02 * 10)
    assert clip(1000.0) == pytest.approx(1.5 * running, rel=1e-4)
    assert trainer.running_norm < 1.1 * running  # one outlier does not lift the limit


def test_average_follows_the_network(store, tmp_path):
    trainer = make_trainer(store, tmp_path, optimizer={"ema": 0.25})
    trainer.step = 1000
    old = [p.clone() for p in trainer.average.parameters()]
    with torch.no_grad():
        for p in trainer.network.parameters():
            p.add_(1.0)
    trainer._update_average()
    for a, b in zip(trainer.average.parameters(), old, strict=True):
        assert torch.allclose(a, b + 0.75, atol=1e-6)


def test_without_tracegrad_and_standardisation(store, tmp_path):
    trainer = make_trainer(
        store, tmp_path, standardize=False, network={"tracegrad": {"nodes": False, "edges": False, "decoder": False}}
    )
    assert (trainer.network.readout.baseline == 0).all()
    trainer.run(progress=False)
    row = read_log(tmp_path)[-1]
    assert float(row["trace_loss"]) == 0
    assert math.isfinite(float(row["loss"]))


def test_a_split_that_is_missing(tmp_path):
    path = write_store(tmp_path / "a.h5", validation=0)
    with pytest.raises(ValueError, match=r"holds no structure of split 'validation': tracegrad convert .* --splits"):
        make_trainer(path, tmp_path)


def test_limit(store, tmp_path):
    assert len(make_trainer(store, tmp_path, limit=1).data["train"]) == 1
    assert len(make_trainer(store, tmp_path).data["train"]) == 2


def test_energy_zero_is_learned_and_validated(tmp_path):
    """One chain in two cells tells the moment; the validation of a third cell counts it, as the exported model does."""
    path = tmp_path / "cells.h5"
    with StoreWriter(path) as writer:
        for name, height, split in (("low", 9.0, "train"), ("high", 12.0, "train"), ("higher", 16.0, "validation")):
            writer.add(name, make_sample(0, height=height, split=split))
    trainer = make_trainer(path, tmp_path / "run", network={"energy_zero": "cell-average"}, schedule={"epochs": 1})
    trainer.run(progress=False)
    predictor, validation = load_model(export_model(trainer)), trainer.data["validation"][0].sample
    low, higher = (
        hamiltonian_error(predictor.predict([sample.structure])[0], sample)
        for sample in (trainer.data["train"][0].sample, validation)
    )
    assert float(read_log(tmp_path / "run")[-1]["mae_all"]) == pytest.approx(higher.all, rel=1e-4)
    assert higher.mu == pytest.approx(low.mu, abs=1.0)  # meV; 166 eV A^3 in these volumes differ by 340 meV


def test_exported_model_predicts_what_was_validated(store, tmp_path):
    """The file holds the averaged weights, and Predictor repeats the trainer's own figures."""
    trainer = make_trainer(store, tmp_path, card={"name": "chains", "description": "acetylene", "label_noise_mev": 0.1})
    trainer.run(progress=False)
    path = export_model(trainer)
    predictor = load_model(path)
    validation = trainer.data["validation"][0].sample
    error = hamiltonian_error(predictor.predict([validation.structure])[0], validation)
    assert error.all == pytest.approx(float(read_log(tmp_path)[-1]["mae_all"]), rel=1e-4)
    card = predictor.card
    assert (card.name, card.elements, card.cutoff, card.label_noise_mev) == ("chains", [1, 6], 4.0, 0.1)
    assert card.training_set == "2 structures, 8 atoms, 2 epochs"
    assert len(card.data_sha256) == 64
    assert card.code == "extended Hueckel formula"
    assert set(card.domain["pairs"]) == {"H-H", "H-C", "C-C"}
    assert predictor.check(validation.structure) == []
    assert any("shortest in training" in w for w in predictor.check(squeezed(make_sample(0).structure)))
    assert load_checkpoint(path, torch.float32)[0].config == trainer.config.network


def squeezed(structure):
    return replace(structure, positions=structure.positions * 0.8, cell=structure.cell * 0.8)


def test_start_from_a_model(store, tmp_path):
    first = make_trainer(store, tmp_path / "first", schedule={"epochs": 2})
    first.run(progress=False)
    model = export_model(first)
    again = make_trainer(store, tmp_path / "again", start=str(model), seed=1)
    before, after = (t.evaluate(t.data["train"], 0)["mae_all"] for t in (first, again))
    assert after == pytest.approx(before, rel=1e-6)
    zero = make_trainer(store, tmp_path / "zero", start=str(model), standardize=False, network={"energy_zero": "cell-average"})
    assert zero.network.energy_zero is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"network": {"n_radial": 12}}, "n_radial = 16 .here 12."), ({"start": "no-such-model"}, "no-such-model")],
)
def test_start_refuses_another_network(store, tmp_path, changes, message):
    model = export_model(make_trainer(store, tmp_path / "first", schedule={"epochs": 1}))
    with pytest.raises(ValueError, match=message):
        make_trainer(store, tmp_path / "again", **{"start": str(model)} | changes)


def test_resume_refuses_other_labels(tmp_path):
    store = write_store(tmp_path / "chains.h5")
    make_trainer(store, tmp_path / "run", schedule={"epochs": 1}).run(progress=False)
    write_store(tmp_path / "more.h5", train=3)
    os.replace(tmp_path / "more.h5", store)
    with pytest.raises(ValueError, match="trained on other labels"):
        make_trainer(store, tmp_path / "run", schedule={"epochs": 1}).resume()


def test_a_moved_folder_can_be_resumed(store, tmp_path):
    make_trainer(store, tmp_path / "run", schedule={"epochs": 1}).run(progress=False)
    os.rename(tmp_path / "run", tmp_path / "moved")
    moved = make_trainer(store, tmp_path / "moved", schedule={"epochs": 1})
    moved.resume()
    assert moved.epoch == 1


def test_samples_without_a_fermi_level(tmp_path):
    path = tmp_path / "chains.h5"
    with StoreWriter(path) as writer:
        for number, split in enumerate(("train", "validation")):
            sample = make_sample(number, split=split)
            info = {key: value for key, value in sample.info.items() if key != "fermi_level"}
            writer.add(f"chain-{number}", replace(sample, info=info))
    with pytest.raises(ValueError, match="chain-0 has no Fermi level: put it"):
        make_trainer(path, tmp_path / "run")
    config = make_training_config(path, tmp_path / "run")
    assert "cannot train yet: chain-0 has no Fermi level" in plan_run(config)[0]
    assert plan_run(replace(config, validate_bands=0))[1] == []
    make_trainer(path, tmp_path / "run", validate_bands=0)
    with StoreReader(path) as reader, pytest.raises(ValueError, match="a label without a Fermi level"):
        BandReference(reader["chain-0"])


def test_a_memory_cap_changes_nothing_that_is_learned(store, tmp_path):
    """Without standardisation, whose sample is what stays in memory."""
    runs = []
    for name, memory in (("all", 0.0), ("one", 1e-9)):
        trainer = make_trainer(store, tmp_path / name, memory_gb=memory, standardize=False, **EVERYTHING)
        assert len(trainer.data["train"].kept) == (1 if memory else 2)
        trainer.run(progress=False)
        runs.append(weights(trainer))
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


def test_early_stop_gives_the_best_weights(store, tmp_path, monkeypatch):
    trainer = make_trainer(store, tmp_path, schedule={"epochs": 9, "early_stop": 2})
    errors, seen = iter([3.0, 1.0, 2.0, 2.0]), []

    def evaluate(graphs, n_bands):
        seen.append({k: v.clone() for k, v in trainer.average.state_dict().items()})
        return {"mae_all": next(errors)}

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    best = trainer.run(progress=False).state_dict()
    assert trainer.epoch == len(seen) == 4
    assert all(torch.equal(best[k], seen[1][k]) for k in best)
    assert not all(torch.equal(best[k], seen[3][k]) for k in best)
    resumed = make_trainer(store, tmp_path, schedule={"epochs": 9, "early_stop": 2})
    resumed.resume()
    again = resumed.run(progress=False).state_dict()
    assert resumed.epoch == 4
    assert all(torch.equal(best[k], again[k]) for k in best)


def test_a_run_that_ends_early_is_validated_and_saved(store, tmp_path):
    """Although the last epoch is no multiple of validate_every."""
    schedule = {"epochs": 20, "kind": "step", "step_start": 1, "step_every": 1, "stop_below": 1e-3}
    trainer = make_trainer(store, tmp_path, validate_every=4, schedule=schedule, optimizer={"learning_rate": 6e-3})
    trainer.run(progress=False)
    assert [row["epoch"] for row in read_log(tmp_path)] == ["3"]
    assert (tmp_path / "state.pt").exists()


def test_a_state_of_an_older_version_goes_on(store, tmp_path):
    """It lacks the settings and counters that came later, and holds those of a plateau."""
    trainer = make_trainer(store, tmp_path, schedule={"epochs": 3})
    trainer.epoch = 2
    trainer.save_state()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    config = json.loads(state["config"])
    for name in "cooldown threshold step_start step_every stop_below early_stop".split():
        del config["schedule"][name]
    for name in ("device", "memory_gb", "tensorboard"):
        del config[name]
    state["config"] = json.dumps(config)
    state["plateau"] = {"factor": 0.5, "best": 1.25, "waited": 2}
    del state["best"]
    torch.save(state, tmp_path / "state.pt")
    resumed = make_trainer(store, tmp_path, schedule={"epochs": 3})
    resumed.resume()
    assert resumed.epoch == 2
    assert resumed.schedule.state["factor"] == 0.5
    resumed.run(progress=False)
    with pytest.raises(ValueError, match=r"schedule\.early_stop = 0 \(now 5\)"):
        make_trainer(store, tmp_path, schedule={"epochs": 3, "early_stop": 5}).resume()
