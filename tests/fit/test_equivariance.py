"""The measured error of equivariance: nothing for stage 1, what rotations do to the second stage, in the card and for people."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.cli import app
from ase_tracegrad.fit.equivariance import measure_equivariance
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.config import HarmoSEConfig
from ase_tracegrad.nn.network import HamiltonianNetwork
from ase_tracegrad.nn.predictor import load_model
from ase_tracegrad.nn.rotated import random_rotation
from tests.fit.cases import NETWORK, make_sample, write_store


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file with a second stage that is no longer zero."""
    basis = make_sample().basis
    torch.manual_seed(3)
    config = replace(NETWORK, harmose=HarmoSEConfig(n_blocks=1, width=8, heads=2, harmonics_lmax=2, n_radial=8))
    network = HamiltonianNetwork(config, basis, sorted(basis.atoms))
    torch.nn.init.normal_(network.refiner.head.weight, std=0.02)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    card = ModelCard("refined", "random weights", network.elements, basis.name, basis.code, basis.xc, config.cutoff)
    save_checkpoint(path, network, basis, card)
    return path


def test_what_is_measured(model):
    """Root mean square and maximum over the rotations, by hand."""
    predictor, sample = load_model(model, dtype="float64"), make_sample(1)
    found = measure_equivariance(predictor, [sample], n_rotations=2, seed=5)
    generator = np.random.default_rng(5)
    (here,) = predictor.predict([sample.structure])
    turned = [predictor.predict([sample.structure], rotation=random_rotation(generator))[0] for _ in range(2)]
    changes = np.array([(matrix - here).values for matrix in turned])
    assert found["rmse"] == pytest.approx(1000 * np.sqrt(np.mean(changes**2)))
    assert found["max"] == pytest.approx(1000 * np.abs(changes).max())
    assert found["band_max"] > found["band_rmse"] > 0
    alone = measure_equivariance(predictor.with_options(refine=False), [sample], n_rotations=2)
    assert alone["max"] < 1e-8


def test_no_structures(model):
    with pytest.raises(ValueError, match="no structure"):
        measure_equivariance(load_model(model), [])


def test_evaluate_measures_prints_and_writes_it(model, tmp_path):
    data = write_store(tmp_path / "chains.h5")
    out = tmp_path / "evaluation.json"
    result = CliRunner().invoke(app, ["evaluate", str(model), str(data), "--out", str(out), "--write-card"])
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())["equivariance"]
    assert f"turning the structure changes H by {figures['rmse']:.3g} meV" in result.output
    calculator = TraceGradCalculator(str(model))
    assert calculator.predictor.card.equivariance == {k: round(float(v), 6) for k, v in figures.items()}
    assert "turning the structure changes H by" in repr(calculator)


def test_the_calculator_can_leave_the_second_stage_out(model):
    structure = make_sample(1).structure
    predictor = load_model(model)
    calculator = TraceGradCalculator(str(model), refine=False)
    (expected,) = predictor.with_options(refine=False).predict([structure])
    (found,) = calculator.predictor.predict([structure])
    assert np.array_equal(found.values, expected.values)
    assert not np.array_equal(predictor.predict([structure])[0].values, expected.values)
