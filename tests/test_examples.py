"""Every example runs as it stands; its numbers are checked when the embedded model is there."""

import runpy
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from ase.build import molecule
from ase.io.jsonio import read_json

import ase_tracegrad.models
from ase_tracegrad.io.deeph import write_deeph
from ase_tracegrad.screen.workers import choose_workers
from ase_tracegrad.screen_command import load_executor
from tests.calculator_cases import EMBEDDED, write_untrained_model
from tests.molecule_model import train_molecule_model

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
        return runpy.run_path(str(path), run_name="__main__")

    run.trained = trained
    yield run
    matplotlib.pyplot.close("all")


def test_examples_are_short():
    names = {"first_bands", "displaced_gap", "use_h_matrix", "high_throughput", "dft_bands", "orbitals_and_symmetry", "report"}
    names |= {"scf_start", "relax_with_density", "molecule_levels"}
    names |= {"gap_temperature", "screening", "quacc_gaps"}
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


def test_report(run_example):
    found = run_example("report")
    assert "<title>C2: graphene</title>" in Path("report.html").read_text(encoding="utf-8")
    assert "strain (%)" in Path("strained.html").read_text(encoding="utf-8")
    assert found["count"] == 5
    assert Path("couplings.png").stat().st_size > 5_000
    assert len(Path("couplings.csv").read_text().splitlines()) == len(found["couplings"].edges) + 1


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


def test_screening(run_example, capsys):
    if not run_example.trained:
        pytest.skip("worker processes find embedded models only, and there is none")
    run_example("screening")
    shown = capsys.readouterr().out
    assert "6 structure(s) computed, 1 failed" in shown
    assert shown.count("direct gap") == 6
    assert "knows C, not B" in shown
    assert Path("sheets/screen.db").exists()


@pytest.mark.filterwarnings("ignore")  # of quacc, pymatgen and what they import
def test_quacc_gaps(run_example, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("QUACC_CONFIG_FILE", str(tmp_path / "none.yaml"))  # not the one of whoever runs the tests
    pytest.importorskip("quacc", reason="quacc is not installed")
    results = run_example("quacc_gaps")["results"]
    assert capsys.readouterr().out.count("direct gap") == 3
    lengths = [result["atoms"].cell.lengths()[0] for result in results]
    assert lengths == pytest.approx([0.98 * 2.46, 2.46, 1.02 * 2.46])
    assert all(result["results"]["eigenvalues"].ndim == 3 for result in results)
    if run_example.trained:
        assert [result["kind"] for result in results][1] == "semimetal"
        assert results[1]["direct_gap"] < 1e-3


@pytest.mark.parametrize("path", sorted((EXAMPLES[0].parent / "clusters").glob("*.py")), ids=lambda path: path.stem)
def test_configurations_of_clusters(path, tmp_path, monkeypatch):
    pytest.importorskip("parsl", reason="parsl is not installed (the extra [parsl])")
    monkeypatch.chdir(tmp_path)
    workers = choose_workers(load_executor(f"parsl:{path}"), None, None)
    nodes = {"local": 1, "slurm": 4, "slurm_gpus": 2, "pbs": 4}[path.stem]
    per_node = {"local": 2, "slurm": 64, "slurm_gpus": 4, "pbs": 64}[path.stem]
    assert workers.n_tasks == 2 * nodes * per_node
    executor = workers.config.executors[0]
    assert executor.available_accelerators == (["0", "1", "2", "3"] if path.stem == "slurm_gpus" else [])


def test_dft_bands(run_example, capsys, graphene_store, tmp_path):
    found = run_example("dft_bands")
    shown = capsys.readouterr().out
    assert "26 orbitals" in shown
    assert np.abs(found["difference"]) < 5e-5
    assert np.abs(found["same"].values - found["sample"].overlap.values).max() < 1e-7
    write_deeph(tmp_path / "folder", found["sample"])
    again = run_example("dft_bands", "folder")
    assert np.allclose(again["energies"], found["energies"], atol=1e-6)


@pytest.fixture(scope="module")
def water(tmp_path_factory, tidy_pyscf) -> str:
    """A water in a file: ethanol, which the examples take without one, has long SCF runs."""
    path = tmp_path_factory.mktemp("waters") / "water.xyz"
    molecule("H2O").write(path)
    return str(path)


@pytest.mark.filterwarnings("ignore:remove_linear_dep_ is deprecated")  # PySCF's guess 'atom' calls it
def test_scf_start(run_example, water, capsys):
    found = run_example("scf_start", water)
    assert found["mf"].converged
    assert found["mf"].e_tot == pytest.approx(found["other"].e_tot, abs=1e-7)
    assert found["mf"].cycles < found["other"].cycles
    assert capsys.readouterr().out.count("cycles") == 5


def test_relax_with_density(run_example, water, capsys):
    found = run_example("relax_with_density", water, "--steps", "1")
    assert found["energy"] > found["reference"]
    assert "above the self-consistent energy" in capsys.readouterr().out
    assert Path("relaxed.xyz").exists()


def test_molecule_levels(run_example, capsys, tmp_path_factory):
    pytest.importorskip("pyscf")
    found = run_example("molecule_levels")
    assert np.linalg.norm(found["dipole"]) == pytest.approx(0.416, abs=0.01)
    assert "5    HOMO" in capsys.readouterr().out
    model = train_molecule_model(tmp_path_factory.mktemp("molecules"))
    assert len(run_example("molecule_levels", model)["levels"].energies) == 24
    assert "Mulliken charges" in capsys.readouterr().out
    assert Path("molecule_levels.png").stat().st_size > 10_000


def test_the_example_of_the_readme(run_example):
    text = (EXAMPLES[0].parents[1] / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["hamiltonian"].is_hermitian(1e-6)
    assert np.asarray(names["dos"].get_weights()).max() > 0
    assert Path("bands.json").exists()
