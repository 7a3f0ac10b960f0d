"""Every example runs as it stands; its numbers are checked when the embedded model is there."""

import runpy
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from ase.io.jsonio import read_json

import ase_tracegrad.models
from ase_tracegrad.io.deeph import write_deeph
from tests.calculator_cases import EMBEDDED, write_untrained_model

matplotlib.use("agg")
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.fixture
def run_example(tmp_path, tmp_path_factory, monkeypatch, graphene_store):
    """run_example(name, *arguments) -> what the script defined, run in an empty folder; untrained where no model is embedded."""
    trained = EMBEDDED in ase_tracegrad.models.available_models()
    if not trained:
        folder = tmp_path_factory.mktemp("models")
        write_untrained_model(folder / f"{EMBEDDED}.safetensors", graphene_store.basis)
        monkeypatch.setattr(ase_tracegrad.models, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> dict:
        path = next(p for p in EXAMPLES if p.stem == name)
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        return runpy.run_path(str(path))

    run.trained = trained
    yield run
    matplotlib.pyplot.close("all")


def test_examples_are_short():
    names = {"first_bands", "displaced_gap", "use_h_matrix", "high_throughput", "dft_bands", "orbitals_and_symmetry"}
    names |= {"gap_temperature"}
    assert {p.stem for p in EXAMPLES} == names
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) < 60, path


def test_first_bands(run_example):
    found = run_example("first_bands")
    left, right = matplotlib.pyplot.gcf().axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["Γ", "M", "K", "Γ"]
    assert left.get_ylim() == right.get_ylim() == (-20, 8)
    assert Path("first_bands.png").exists()
    assert np.allclose(read_json("first_bands.json").energies, found["bands"].energies)
    if run_example.trained:
        assert found["gap"].kind == "semimetal"
        assert np.allclose(np.abs(found["gap"].k_direct), [1 / 3, 1 / 3, 0])


def test_displaced_gap(run_example):
    found = run_example("displaced_gap")
    assert len(found["gaps"]) == 5
    assert min(found["gaps"]) >= 0
    if run_example.trained:
        assert max(found["gaps"]) > 20


def test_use_h_matrix(run_example, capsys):
    found = run_example("use_h_matrix")
    assert found["coefficients"].shape == (26, 26)
    assert "block (0, 1, (1, 0, 0)) has shape (13, 13)" in capsys.readouterr().out
    if run_example.trained:
        assert found["energies"][4] - found["energies"][3] < 1e-4


def test_orbitals_and_symmetry(run_example, capsys):
    found = run_example("orbitals_and_symmetry")
    assert "p6/mmm: 24 operations" in capsys.readouterr().out
    assert found["report"].hamiltonian.max() < 1e-3
    for picture in ("projected_dos.png", "fat_bands.png"):
        assert Path(picture).stat().st_size > 10_000
    if run_example.trained:
        assert 1.7 < found["pi_electrons"] < 2.0  # of two pi electrons; the rest is in d functions
        assert found["pz_share"].min() > 0.7


def test_gap_temperature(run_example):
    found = run_example("gap_temperature")
    assert Path("gap_temperature.png").stat().st_size > 10_000
    assert Path("mos2-gap/300K/0003.npz").exists()
    result = found["result"]
    assert (result.shift() < 0).all()
    assert result.spreads.mean() < 0.2


def test_high_throughput(run_example, capsys):
    run_example("high_throughput")
    assert capsys.readouterr().out.count("strain") == 13


def test_dft_bands(run_example, capsys, graphene_store, tmp_path):
    found = run_example("dft_bands")
    shown = capsys.readouterr().out
    assert "26 orbitals" in shown
    assert np.abs(found["difference"]) < 5e-5
    assert np.abs(found["same"].values - found["sample"].overlap.values).max() < 1e-7
    write_deeph(tmp_path / "folder", found["sample"])
    again = run_example("dft_bands", "folder")
    assert np.allclose(again["energies"], found["energies"], atol=1e-6)


def test_the_example_of_the_readme(run_example):
    text = (EXAMPLES[0].parents[1] / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["hamiltonian"].is_hermitian(1e-6)
    assert np.asarray(names["dos"].get_weights()).max() > 0
    assert Path("bands.json").exists()
