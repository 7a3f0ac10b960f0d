"""The embedded graphene model against stored CP2K bands, and what symmetry demands of its prediction."""

import json

import numpy as np
import pytest
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator, available_models, compute_bands, compute_overlap
from ase_tracegrad.demo import run_demo
from ase_tracegrad.models import FOLDER
from ase_tracegrad.structure import Structure


@pytest.fixture(scope="module")
def calc():
    return TraceGradCalculator("graphene-pbe")


def test_demo_runs_and_its_errors_are_those_of_the_card(tmp_path, capsys, calc):
    figures = run_demo(tmp_path)
    printed = capsys.readouterr().out
    assert calc.predictor.card.line in printed
    assert (tmp_path / "bands.png").stat().st_size > 20_000
    assert (tmp_path / "dos.png").stat().st_size > 10_000
    errors = calc.predictor.card.errors
    # One structure on a path against the whole test set on a mesh: the same size, not the same number.
    assert figures["x1-005"]["band_rmse"] < 3 * errors["primitive cell, strained"]["band_rmse"] + 0.3
    assert figures["x3-009"]["band_rmse"] < 3 * errors["displaced 3x3"]["band_rmse"] + 0.3
    assert figures["gap"]["kind"] == "semimetal"


@pytest.mark.parametrize("scale", [0.97, 1.0, 1.03])
def test_dirac_point_is_degenerate(calc, scale):
    """E2g symmetry at K: exact for an equivariant network, whatever its errors."""
    atoms = graphene(a=2.46 * scale, vacuum=5.0)
    energies = compute_bands(calc.hamiltonian(atoms), calc.overlap(atoms), [[1 / 3, 1 / 3, 0]])[0]
    assert abs(energies[4] - energies[3]) < 1e-4
    assert calc.band_gap(atoms=atoms, kpts=(6, 6, 1)).kind == "semimetal"


def test_supercell_has_the_bands_of_the_primitive_cell(calc):
    """Folding: Gamma of a 3x3 cell holds Gamma, K and K' and six more of the primitive cell."""
    primitive = graphene(a=2.46, vacuum=5.0)
    supercell = primitive * (3, 3, 1)
    mesh = [[i / 3, j / 3, 0] for i in range(3) for j in range(3)]
    folded = np.sort(compute_bands(calc.hamiltonian(primitive), calc.overlap(primitive), mesh), axis=None)
    direct = compute_bands(calc.hamiltonian(supercell), calc.overlap(supercell), [[0, 0, 0]])[0]
    assert np.abs(direct - folded)[:60].max() < 1e-3


def test_the_reference_was_not_trained_on():
    reference = json.loads((FOLDER / "graphene-pbe-reference.json").read_text())
    assert {entry["name"] for entry in reference["structures"]} == {"x1-005", "x3-009"}
    # The data set's rule keeps both for testing.
    assert int("x3-009"[-1]) == 9


def test_overlap_comes_from_the_checkpoint(calc, graphene_store):
    """The radial functions in the model file give CP2K's S without CP2K."""
    sample = graphene_store["displaced"]
    ours = compute_overlap(Structure.from_atoms(sample.atoms), calc.predictor.basis)
    assert np.abs(ours.restricted_to(sample.overlap).values - sample.overlap.values).max() < 1e-7


def test_card_is_complete():
    assert "graphene-pbe" in available_models()
    card = TraceGradCalculator("graphene-pbe").predictor.card
    for test in ("displaced 2x2", "displaced 3x3", "primitive cell, strained", "rippled 4x4"):
        assert {"mae_all", "mae_gauge", "band_rmse", "band_max"} <= set(card.errors[test])
    assert card.label_noise_mev > 0
    assert card.data_sha256
    assert (FOLDER / "graphene-pbe.safetensors").stat().st_size < 5e6
