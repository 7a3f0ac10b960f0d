"""The measured error of equivariance: nothing for stage 1, what rotations do to the second stage, in the card and for people."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from typer.testing import CliRunner

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.cli import app
from ase_tracegrad.electronic.symmetry import covariance_residuals
from ase_tracegrad.fit.equivariance import measure_equivariance
from ase_tracegrad.graph import build_graph
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import load_checkpoint, save_checkpoint
from ase_tracegrad.nn.config import HarmoSEConfig
from ase_tracegrad.nn.domain import describe_domain
from ase_tracegrad.nn.network import HamiltonianNetwork
from ase_tracegrad.nn.predictor import load_model
from ase_tracegrad.nn.rotated import random_rotation
from ase_tracegrad.structure import Structure
from tests.fit.cases import NETWORK, make_sample, write_store

CHAIN = Structure(  # acetylene, undisplaced
    [6, 6, 1, 1], [[0.0, 0.35, 0], [1.25, -0.35, 0], [0.0, 1.44, 0], [1.25, -1.44, 0]], np.diag([2.5, 9, 9]), [True, False, False]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file with a second stage that is no longer zero."""
    basis = make_sample().basis
    torch.manual_seed(3)
    config = replace(NETWORK, harmose=HarmoSEConfig(n_blocks=1, width=8, heads=2, harmonics_lmax=2, n_radial=8))
    network = HamiltonianNetwork(config, basis, sorted(basis.atoms))
    torch.nn.init.normal_(network.refiner.head.weight, std=0.02)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    domain = describe_domain([build_graph(CHAIN, network.reach)], network.elements, config.cutoff)
    made_of = (network.elements, basis.name, basis.code, basis.xc, config.cutoff)
    card = ModelCard("refined", "random weights", *made_of, domain=domain)
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


def test_without_a_fermi_level_only_elements(model):
    sample = make_sample(1)
    del sample.info["fermi_level"]
    found = measure_equivariance(load_model(model), [sample], n_rotations=1)
    assert found["max"] > found["rmse"] > 0
    assert "band_max" not in found
    card = replace(load_model(model).card, equivariance=found)
    assert "an element by" in str(card)
    assert "bands by" not in str(card)


def test_no_structures(model):
    with pytest.raises(ValueError, match="no structure"):
        measure_equivariance(load_model(model), [])


def test_evaluate_measures_prints_and_writes_it(model, tmp_path):
    data = write_store(tmp_path / "chains.h5")
    out = tmp_path / "evaluation.json"
    result = CliRunner().invoke(app, ["evaluate", str(model), str(data), "--out", str(out), "--write-card"])
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())["equivariance"]
    assert f"turning the structure changes H by {figures['rmse']:.2g} meV" in result.output
    assert measured_on_other_rotations(model) < 1.5 * figures["rmse"]
    calculator = TraceGradCalculator(str(model))
    assert calculator.predictor.card.equivariance == {k: round(float(v), 6) for k, v in figures.items()}
    assert "turning the structure changes H by" in repr(calculator)


def measured_on_other_rotations(model) -> float:
    """The change of H on unseen structures and orientations, rmse in meV."""
    samples = [make_sample(seed) for seed in (20, 21)]
    return measure_equivariance(load_model(model), samples, n_rotations=6, seed=11)["rmse"]


def symmetric_chain(model, **options) -> Atoms:
    atoms = Atoms(CHAIN.numbers, CHAIN.positions, cell=CHAIN.cell, pbc=CHAIN.pbc)
    atoms.calc = TraceGradCalculator(str(model), dtype="float64", fermi_kpts=(4, 1, 1), **options)
    return atoms


def test_symmetrized_after_the_second_stage(model):
    """It breaks the symmetry of a chain, stage 1 does not; the symmetrized H has it, and is no farther than the group moves it."""
    exact, refined = (symmetric_chain(model, refine=refine) for refine in (False, True))
    report = refined.calc.symmetry_report()
    assert len(report.group) > 1
    assert exact.calc.symmetry_report().hamiltonian.max() < 1e-10 < 1e-3 < report.hamiltonian.max()
    before, after = refined.calc.hamiltonian(), refined.calc.hamiltonian(symmetrized=True)
    assert covariance_residuals(after, report.group).max() < 1e-12
    assert after.hermiticity_residual() < 1e-12
    assert 0 < np.abs((after.restricted_to(before) - before).values).max() <= report.hamiltonian.max()


def test_the_report_says_how_exact_the_model_is(model, tmp_path):
    measured = tmp_path / "measured.safetensors"
    network, basis, card = load_checkpoint(model, torch.float32)
    save_checkpoint(measured, network, basis, replace(card, equivariance={"rmse": 0.71, "max": 8.25, "band_max": 3.1}))
    text = "turning the structure changes H by 0.71 meV; at most, in a few samples: an element by 8.2, bands by 3.1"
    assert text in str(symmetric_chain(measured).calc.symmetry_report())
    assert f"{text}; less here, the mean over 2 orientations" in str(
        symmetric_chain(measured, n_rotations=2).calc.symmetry_report()
    )
    assert text in repr(symmetric_chain(measured).calc)
    assert f"{text}; less here" in repr(symmetric_chain(measured, n_rotations=2).calc)
    alone = symmetric_chain(measured, refine=False).calc
    assert "equivariance of the model           exact" in str(alone.symmetry_report())
    assert repr(alone).startswith("TraceGradCalculator('refined', refine=False, ")
    assert "turning" not in repr(alone)
    save_checkpoint(measured, network, basis, replace(card, equivariance={}))
    assert "not measured" in str(symmetric_chain(measured).calc.symmetry_report())
    assert "not measured" in repr(symmetric_chain(measured).calc)


def test_a_row_of_a_data_base_keeps_the_options(model):
    calculator = TraceGradCalculator(str(model), refine=False)
    again = TraceGradCalculator(**calculator.todict())
    assert not again.predictor.refine


def test_the_calculator_can_leave_the_second_stage_out(model):
    structure = make_sample(1).structure
    predictor = load_model(model)
    calculator = TraceGradCalculator(str(model), refine=False)
    (expected,) = predictor.with_options(refine=False).predict([structure])
    (found,) = calculator.predictor.predict([structure])
    assert np.array_equal(found.values, expected.values)
    assert not np.array_equal(predictor.predict([structure])[0].values, expected.values)
