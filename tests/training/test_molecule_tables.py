"""The tables of molecules from made-up results: units, seeds that belong together, SCF cycles by the folder of a model."""

import json

import pytest

from ase_tracegrad.units import HARTREE

MEV = HARTREE / 1000  # one microhartree


@pytest.fixture
def tables(script):
    return script("molecule_tables")


def make_group(mae: float, structures: int = 7) -> dict:
    """mae: in microhartree, like all energies here but those of the file."""
    energies = {"mae_all": mae, "median_mae_all": mae / 2, "mae_onsite": 3 * mae, "mae_offsite": mae / 4, "epsilon": 20 * mae}
    figures = {key: MEV * value for key, value in energies.items()}
    return figures | {"median_epsilon": MEV * mae, "psi": 0.98, "prediction_seconds": 0.25, "structures": structures}


def make_result(errors: dict[str, list[float]]) -> dict:
    """errors: H MAE of each variant, one for each seed; half as large again on larger molecules."""
    runs = {
        f"{variant}-{seed}": {"parameters": 1234, "groups": {"test": make_group(mae), "larger": make_group(1.5 * mae, 3)}}
        for variant, maes in errors.items()
        for seed, mae in enumerate(maes)
    }
    facts = {"name": "qh9_like", "training_structures": 900, "epochs": 60, "machine": "a processor", "settings": ["limit=900"]}
    return facts | {"runs": runs, "summary": {variant.upper(): {} for variant in errors}}


def make_cycles(ratios: dict[str, float]) -> dict:
    models = {
        f"runs/qh9_like/{run}/model.safetensors": {"cycles_ratio": {"minao": r}, "same_energy": 0.95} for run, r in ratios.items()
    }
    starts = {"minao": {"cycles": 11.2}, "label": {"cycles": 1.0}}
    return {"summary": {"split test": {"molecules": 5, "starts": starts, "models": models}}}


def test_figures_of_both_splits(tables):
    result = make_result({"backbone": [100.0, 120.0], "tracegrad": [60.0]})
    cycles = make_cycles({"backbone-0": 0.9, "backbone-1": 0.8, "tracegrad-0": 0.6, "elsewhere-0": 0.1})
    text = tables.molecule_tables([result], cycles)
    assert text.startswith(
        "**qh9_like**: 900 training molecules, 60 epochs; one core of a processor; limit=900\n\n| test: 7 molecules |"
    )
    errors = "110.0 ± 14.1 | 55.00 ± 7.07 | 330.0 ± 42.4 | 27.50 ± 3.54 | 2200 ± 283 | 110.0 ± 14.1 | 98.00 ± 0.00"
    assert f"| BACKBONE | 2 | 1234 | {errors} | 0.85 ± 0.07 | 0.25 |" in text
    assert "| TRACEGRAD | 1 | 1234 | 60.00 | 30.00 | 180.0 | 15.00 | 1200 | 60.00 | 98.00 | 0.60 | 0.25 |" in text
    assert "* SCF on 5 of them; mean cycles from other starts: minao 11.2, label 1.0; at least 95% of the runs from each" in text
    larger = text.split("| larger: 3 molecules |")[1]
    assert "| TRACEGRAD | 1 | 1234 | 90.00 | 45.00 | 270.0 | 22.50 | 1800 | 90.00 | 98.00 | - | 0.25 |" in larger  # no SCF there
    assert "SCF on" not in larger


def test_a_ratio_has_its_interval(tables):
    """With the same ratio for every seed the interval closes; with one seed there is none."""
    text = tables.molecule_tables([make_result({"backbone": [100.0, 120.0, 90.0], "tracegrad": [60.0, 72.0, 54.1]})], None)
    ratios = "* H MAE of TraceGrad / backbone, seed by seed: 0.60, 0.60, 0.60; mean 0.60, 95% interval 0.60 to 0.60 (lower, beyond"
    assert text.count(ratios) == 2
    text = tables.molecule_tables([make_result({"backbone": [100.0, 120.0], "tracegrad": [60.0, 96.0]})], None)
    assert "seed by seed: 0.60, 0.80; mean 0.69, 95% interval 0.11 to 4.31 (no significant effect)" in text
    text = tables.molecule_tables([make_result({"standardized": [100.0, 50.0], "delta": [30.0]})], None)
    assert "* H MAE of delta / standardized backbone, seed by seed: 0.30 (one seed, no spread: not known" in text
    assert "TraceGrad" not in text


def test_molecules_and_crystals_have_tables_of_their_own(script, tmp_path, monkeypatch):
    tables = script("write_tables")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.molecule_comparison() == "No comparison on molecules has been run yet."
    assert tables.TABLES["docs/molecules.md"]["molecule-errors"]() == "No model of molecules has been measured yet."
    (tmp_path / "comparison_qh9_like.json").write_text(json.dumps(make_result({"backbone": [100.0]})))
    assert "| BACKBONE | 1 | 1234 | 100.0 |" in tables.molecule_comparison()
    assert tables.comparison_tables() == "No comparison has been run yet."


def test_models_that_were_measured_by_themselves(tables):
    figures = {"h_all": 80.0, "h_onsite": 150.0, "h_offsite": 60.0, "epsilon": 4000.0, "homo": 500.0, "lumo": 700.0}
    group = {kind: figures | {"psi": 0.95, "seconds": 0.3} for kind in ("mean", "median")} | {"molecules": 9, "atoms": 8.0}
    result = {"models": {"small": {"description": "for tests", "training_set": "none", "test": group}}}
    text = tables.molecule_error_table(result)
    assert "| small | 9 test | median | 80.00 | 150.0 | 60.00 | 4000 | 500.0 | 700.0 | 95.00 | 0.3 |" in text
    assert len(text.splitlines()) == 4
