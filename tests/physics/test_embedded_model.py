"""The embedded graphene model against stored CP2K bands, and what symmetry demands of its prediction."""

import importlib
import json
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator, available_models, compute_bands, compute_overlap
from ase_tracegrad.demo import run_demo
from ase_tracegrad.models import FOLDER
from ase_tracegrad.structure import Structure
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def calc():
    return TraceGradCalculator("graphene-pbe")


def test_demo_runs_and_its_errors_are_those_of_the_card(tmp_path, capsys, calc, monkeypatch):
    plt.close("all")  # those of other tests
    monkeypatch.setattr(plt, "close", lambda *_: None)  # so that its pictures can be looked at
    figures = run_demo(tmp_path)
    monkeypatch.undo()
    printed = capsys.readouterr().out
    assert calc.predictor.card.line in printed
    check_pictures(figures["x1-005"])
    assert (tmp_path / "bands.png").exists()
    assert (tmp_path / "dos.png").exists()
    errors = calc.predictor.card.errors
    # One structure on a path against the whole test set on a mesh: the same size, not the same number.
    assert figures["x1-005"]["band_rmse"] < 3 * errors["primitive cell, strained"]["band_rmse"] + 0.3
    assert figures["x3-009"]["band_rmse"] < 3 * errors["displaced 3x3"]["band_rmse"] + 0.3
    assert figures["gap"]["kind"] == "semimetal"


def check_pictures(figures: dict):
    """The open figures: bands with CP2K's as dots and the errors below, for both structures, and the density of states."""
    (bands, displaced, errors, _), (dos,) = (plt.figure(number).axes for number in plt.get_fignums())
    assert f"RMSE {figures['band_rmse']:.2f} meV, largest {figures['band_max']:.2f} meV" in errors.get_title()
    assert [t.get_text() for t in bands.get_legend().get_texts()] == ["TraceGrad", "CP2K"]
    assert [t.get_text() for t in errors.get_xticklabels()] == ["Γ", "M", "K", "Γ"]
    assert bands.get_ylim() == (-20, 8)
    assert displaced.get_title(loc="right") == "displaced, strained 3x3"
    assert len(bands.lines) >= 2 * 8  # at least the occupied and some empty bands of both
    assert dos.get_title() == "graphene, primitive cell"
    assert dos.get_xlim() == (-20, 8)
    energies, weights = dos.lines[0].get_data()
    assert weights[np.abs(energies).argmin()] < 0.1 * weights.max()  # the Dirac point
    plt.close("all")


@pytest.mark.parametrize("scale", [0.97, 1.0, 1.03])
def test_dirac_point_is_degenerate(calc, scale):
    """E2g symmetry at K: exact for an equivariant network, whatever its errors."""
    atoms = graphene(a=2.46 * scale, vacuum=5.0)
    energies = compute_bands(calc.hamiltonian(atoms), calc.overlap(atoms), [[1 / 3, 1 / 3, 0]])[0]
    assert abs(energies[4] - energies[3]) < 1e-4
    assert calc.band_gap(atoms=atoms, kpts=(6, 6, 1)).kind == "semimetal"


@pytest.mark.parametrize("strain", [-0.02, 0.01, 0.02, 0.03])
def test_uniaxial_strain_moves_the_dirac_point_but_does_not_open_it(calc, strain):
    """Inversion and time reversal protect the touching point (Pereira et al., Phys. Rev. B 80, 045401 (2009))."""
    atoms = graphene(a=2.46, vacuum=5.0)
    atoms.set_cell(atoms.cell * [1 + strain, 1, 1], scale_atoms=True)
    gap = calc.band_gap(atoms=atoms)
    assert gap.kind == "semimetal"
    assert 1e-3 < np.abs(np.abs(gap.k_direct[:2] % 1 - 0.5) - 1 / 6).max() < 0.03, "near K, not at it"


def test_supercell_has_the_bands_of_the_primitive_cell(calc):
    """Folding: Gamma of a 3x3 cell holds Gamma, K and K' and six more of the primitive cell."""
    primitive = graphene(a=2.46, vacuum=5.0)
    supercell = primitive * (3, 3, 1)
    mesh = [[i / 3, j / 3, 0] for i in range(3) for j in range(3)]
    folded = np.sort(compute_bands(calc.hamiltonian(primitive), calc.overlap(primitive), mesh), axis=None)
    direct = compute_bands(calc.hamiltonian(supercell), calc.overlap(supercell), [[0, 0, 0]])[0]
    assert np.abs(direct - folded)[:60].max() < 1e-3


def test_tetrahedra_show_no_gap_that_is_not_there(calc):
    """The default mesh holds K, so that the density of states goes to zero at the Dirac point alone."""
    atoms = graphene(a=2.46, vacuum=5.0)
    energies = np.array([-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3])
    weights = calc.dos(energies, width=0.0, atoms=atoms, progress=False).get_weights()
    assert weights[3] < 0.003 < 0.008 < weights[[2, 4]].min()
    missed = calc.dos(energies, width=0.0, atoms=atoms, kpts=(12, 12, 1), progress=False).get_weights()
    assert missed[2:5].max() == 0


def test_the_reference_was_not_trained_on(monkeypatch):
    """The stored structures are those of the data set's rule, which keeps them for testing."""
    monkeypatch.syspath_prepend(ROOT / "training")
    rule = {item.name: item for item in importlib.import_module("graphene_structures").make_structures()}
    monkeypatch.delitem(sys.modules, "graphene_structures")
    reference = json.loads((FOLDER / "graphene-pbe-reference.json").read_text())
    assert len(reference["structures"]) >= 2
    for entry in reference["structures"]:
        item = rule[entry["name"]]
        assert item.split == "test"
        assert np.allclose(entry["cell"], item.atoms.cell.array)
        assert np.array_equal(entry["numbers"], item.atoms.numbers)
        moved = (np.array(entry["positions"]) - item.atoms.positions) @ np.linalg.inv(entry["cell"])
        assert np.abs(moved - np.round(moved)).max() < 1e-9  # CP2K's labels are wrapped into one cell


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
