"""Distances in feature space and spreads of models: what they must be, and the file they are calibrated in."""

import json
import shutil

import numpy as np
import pytest
import torch

from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.predictor import load_model
from ase_tracegrad.nn.trust import FARTHER, Trust, TrustError, fit_scalars, hash_model, read_trust, trust_file
from ase_tracegrad.screen import ScreenError, iterate_rows
from ase_tracegrad.screen.calibration import calibrate, measure_errors
from ase_tracegrad.screen.uncertainty import Uncertainty
from tests.fit.cases import make_network, make_sample, write_store
from tests.screen.conftest import MESH


def make_trust(model, **changes) -> Trust:
    rng = np.random.default_rng(0)
    n = load_model(model).network.node_scalars
    rows = rng.normal(size=(400, n)) @ rng.normal(size=(n, n)) + 3
    means, whitening = fit_scalars(np.full(400, 6), rows)
    factors = {"distance": {"hamiltonian": 2.0}}
    facts = {"model": hash_model(model), "means": means, "whitening": whitening, "farthest": 2.0, "members": (), "data": {}}
    return Trust(**facts | {"factors": factors} | changes)


def test_distances_of_the_training_are_one():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(5, 5))
    numbers, rows = np.repeat([6, 42], 3000), rng.normal(size=(6000, 5)) @ mixing
    trust = Trust("", *fit_scalars(numbers, rows), 1.0, (), {}, {})
    distances = trust.distances(numbers, rows)
    assert np.mean(distances**2) == pytest.approx(1, abs=0.01)
    # Mahalanobis' distance does not ask for the units or directions of the features.
    other = rng.normal(size=(5, 5))
    twin = Trust("", *fit_scalars(numbers, rows @ other), 1.0, (), {}, {})
    assert np.corrcoef(distances, twin.distances(numbers, rows @ other))[0, 1] > 0.9
    assert np.isinf(trust.distances(np.array([1]), rows[:1])).all()
    assert trust.distances(numbers[:1], rows[:1] + 50) > 10


def test_the_scalars_of_atoms_do_not_turn(model, graphene_store):
    predictor = load_model(model, dtype="float64")
    sample = next(iter(graphene_store))
    rotation = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    _, (straight,) = predictor.predict_described([sample.structure])
    _, (turned,) = predictor.predict_described([sample.structure], rotation=rotation)
    assert straight.shape == (len(sample.structure), predictor.network.node_scalars)
    assert np.allclose(straight, turned, atol=1e-10)


def test_the_file_is_complete_or_refused(tmp_path, model):
    copied = tmp_path / "mine.safetensors"
    shutil.copy(model, copied)
    assert read_trust(copied) is None
    trust = make_trust(copied)
    trust.write(trust_file(copied))
    again, rows = read_trust(copied), np.random.default_rng(2).normal(size=(3, len(trust.means[6])))
    assert np.allclose(again.distances(np.full(3, 6), rows), trust.distances(np.full(3, 6), rows), rtol=1e-4)
    facts = json.loads(trust_file(copied).read_text())
    for wrong, message in (
        ({"format": "other"}, "format"),
        ({"model": "0"}, "another version"),
        ({"elements": 3}, "damaged"),
        ({"factors": 3}, "damaged"),
        ({"farthest": float("nan")}, "not finite"),
    ):
        trust_file(copied).write_text(json.dumps(facts | wrong))
        with pytest.raises(TrustError, match=message):
            read_trust(copied)
    trust_file(copied).write_text("{")
    with pytest.raises(TrustError, match="damaged"):
        read_trust(copied)


def test_rows_hold_the_distance_and_flag_what_is_far(tmp_path, model, sheets, run_here):
    for farthest, flagged in ((1e6, False), (1e-6, True)):
        folder = tmp_path / str(flagged)
        folder.mkdir()
        copied = folder / "mine.safetensors"
        shutil.copy(model, copied)
        make_trust(copied, farthest=farthest).write(trust_file(copied))
        run_here(sheets(1), copied, out=folder / "out")
        (row,) = iterate_rows(folder / "out")
        assert row["feature_distance"] > 0
        assert row["h_uncertainty"] == pytest.approx(2.0 * row["feature_distance"])
        assert row["out_of_domain"] == flagged
        assert bool(row["reasons"]) == flagged


def test_a_worker_that_lives_on_sees_that_a_model_has_changed(tmp_path, model, other_model, sheets, run_here):
    """Workers of Dask and Parsl, and threads, outlive a screening."""
    copied = tmp_path / "mine.safetensors"
    shutil.copy(model, copied)
    run_here(sheets(1), copied, out=tmp_path / "first")
    shutil.copy(other_model, copied)
    make_trust(copied).write(trust_file(copied))
    run_here(sheets(1), copied, out=tmp_path / "second")
    run_here(sheets(1), other_model, out=tmp_path / "other")
    first, second, other = (next(iterate_rows(tmp_path / name)) for name in ("first", "second", "other"))
    assert second["fermi_level"] == other["fermi_level"] != first["fermi_level"]
    assert second["feature_distance"] is not None


def test_other_trust_is_another_screening(tmp_path, model, sheets, run_here):
    copied = tmp_path / "mine.safetensors"
    shutil.copy(model, copied)
    run_here(sheets(1), copied, out=tmp_path / "out", kpts=MESH)
    make_trust(copied).write(trust_file(copied))
    with pytest.raises(ScreenError, match="trust was None"):
        run_here(sheets(1), copied, out=tmp_path / "out", kpts=MESH)


def test_an_atom_far_from_training_counts(model):
    assert FARTHER > 1
    trust = make_trust(model)
    near, far = trust.means[6][None], trust.means[6][None] + 1e3
    assert trust.distances(np.array([6]), near) < 1e-9 < trust.distances(np.array([6]), far)


def save_untrained(path, seed: int):
    """A network for the chains of tests/fit/cases.py."""
    torch.manual_seed(seed)
    sample = make_sample()
    network = make_network()
    basis = sample.basis
    card = ModelCard(path.stem, "random", network.elements, basis.name, basis.code, basis.xc, network.config.cutoff)
    save_checkpoint(path, network.float(), basis, card)
    return path


def test_calibration_compares_with_labels(tmp_path):
    data = write_store(tmp_path / "chains.h5", train=6, validation=5)
    first, second = (save_untrained(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate(("first", "second")))
    done = calibrate([first, second], data, progress=False)
    trust = read_trust(first)
    assert done.path == trust_file(first)
    assert trust.members == (hash_model(second),)
    assert {kind: set(factors) for kind, factors in trust.factors.items()} == {
        "distance": {"hamiltonian"},
        "spread": {"hamiltonian", "gap"},
    }
    assert (trust.data["n_train"], trust.data["n_validation"]) == (6, 5)
    assert "rank correlation" in str(done)
    judge = Uncertainty(load_model(first), [load_model(second)], trust)
    ratios = []
    with StoreReader(data) as store:
        for name in (n for n in store.names if store.split(n) == "validation"):
            errors = measure_errors(judge, store[name], name)
            exact = load_model(first).predict([store[name].structure], [store[name].overlap])[0] - store[name].hamiltonian
            assert errors.error["hamiltonian"] == pytest.approx(1000 * np.abs(exact.values).mean())
            ratios.append(errors.error["hamiltonian"] / errors.uncertainty["spread"]["hamiltonian"])
    assert trust.factors["spread"]["hamiltonian"] == pytest.approx(np.median(ratios))


def test_calibration_needs_labels_that_were_not_trained_on(tmp_path):
    data = write_store(tmp_path / "chains.h5", train=2, validation=1)
    model = save_untrained(tmp_path / "first.safetensors", 0)
    with pytest.raises(ScreenError, match="1 to validate, expected at least 5"):
        calibrate(model, data, progress=False)
