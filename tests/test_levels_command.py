"""tracegrad levels: from a model, from stored H and S, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.cli import main
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io.qh9_writer import QH9Writer
from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.labels.pyscf import PyscfSettings, compute_molecule_labels
from ase_tracegrad.plot import plot_levels
from ase_tracegrad.units import DEBYE
from tests.molecule_model import train_molecule_model, write_delta_model


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> str:
    pytest.importorskip("pyscf")
    return train_molecule_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def water():
    pytest.importorskip("pyscf")
    return compute_molecule_labels(molecule("H2O"), settings=PyscfSettings(grid_level=0))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("water.xyz", molecule("H2O"))
    return tmp_path


@pytest.fixture
def levels(capsys):
    """levels(*arguments) -> (exit code, stdout, stderr) of tracegrad levels."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["levels", *(str(a) for a in arguments)])
        return (left.value.code, *capsys.readouterr())

    return run


def test_from_a_model(levels, here, model_file):
    code, out, err = levels("water.xyz", "-m", model_file, "--json", "w.json", "--plot", "w.png", "--dtype", "float64")
    assert (code, err) == (0, "")
    for fact in (
        "H2O, 10 electrons, charge 0; model water",
        "HOMO",
        "LUMO",
        "gap ",
        "dipole ",
        "O 0",
        "wrote w.json and w.png",
    ):
        assert fact in out
    assert Path("w.png").stat().st_size > 5000
    numbers = json.loads(Path("w.json").read_text())
    atoms = molecule("H2O")
    atoms.calc = TraceGradCalculator(model_file, dtype="float64")
    assert np.allclose(numbers["energies"], atoms.calc.levels().energies, atol=1e-6)
    assert [numbers["homo"], numbers["lumo"]] == pytest.approx(atoms.calc.get_homo_lumo(), abs=1e-6)
    assert numbers["dipole"] == pytest.approx(atoms.get_dipole_moment(), abs=1e-6)
    assert numbers["mulliken"] == pytest.approx(atoms.get_charges(), abs=1e-6)
    assert sum(numbers["loewdin"]) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("form", ["tgh", "db"])
def test_of_stored_matrices(levels, here, water, form):
    """Water has 1.85 D; the stored H and S are PySCF's, so all numbers are those of its density."""
    if form == "tgh":
        with StoreWriter("water.tgh") as store:
            store.add("water", water)
    else:
        with QH9Writer("water.db") as database:
            database.add(0, water)
    code, out, _ = levels(f"water.{form}", "--json", "w.json", "--around", 2)
    assert code == 0
    assert f"charge 0; H and S in water.{form}" in out
    assert [line.split()[0] for line in out.splitlines()[2:6]] == ["4", "5", "6", "7"]
    numbers = json.loads(Path("w.json").read_text())
    assert np.abs(np.array(numbers["energies"]) - water.info["orbital_energies"]).max() < 1e-5
    assert np.linalg.norm(numbers["dipole"]) / DEBYE == pytest.approx(2.0, abs=0.2)
    assert numbers["mulliken"][0] < -0.2 < 0.1 < numbers["mulliken"][1]


def test_the_embedded_model_that_needs_no_pyscf_is_the_default(levels, here):
    code, out, _ = levels("water.xyz", "--around", 2)
    assert code == 0
    assert out.startswith("H2O, 10 electrons, charge 0; model molecules-b3lyp\n")


def test_one_of_several(levels, here, water):
    with StoreWriter("two.tgh") as store:
        for name in ("a", "b"):
            store.add(name, water)
    assert levels("two.tgh@b")[0] == 0
    code, _, err = levels("two.tgh")
    assert code == 2
    assert "two.tgh holds 2 structures; pick one, as in two.tgh@a" in err


def test_ions(levels, here, model_file):
    """The charge of the file, and that of the option before it."""
    hydroxide = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": -1})
    write("hydroxide.xyz", hydroxide, format="extxyz")
    code, out, err = levels("hydroxide.xyz", "-m", model_file)
    assert code == 0
    assert "OH, 10 electrons, charge -1" in out.replace("HO,", "OH,")
    assert "about the origin of the coordinates" in out
    assert "warning: charge -1: the network sees no charge" in err
    assert "12 electrons, charge -3" in levels("hydroxide.xyz", "-m", model_file, "--charge", -3)[1]
    code, _, err = levels("hydroxide.xyz", "-m", model_file, "--charge", 1)
    assert code == 2
    assert "eV apart" in err, "two electrons in two pi levels: a triplet"


def test_what_is_refused(levels, here, model_file, water):
    cases = {"radical": molecule("OH"), "box": molecule("H2O", vacuum=4.0), "xenon": Atoms("Xe"), "acid": molecule("HCl")}
    cases["box"].pbc = True
    for name, atoms in cases.items():
        atoms.set_initial_magnetic_moments(None)
        write(f"{name}.xyz", atoms, format="extxyz")
    with StoreWriter("water.tgh") as store:
        store.add("water", water)
    for arguments, message in (
        (("radical.xyz", "-m", model_file), "HO with charge 0 has 9 electrons, an odd number"),
        (("box.xyz", "-m", model_file), "levels are those of a molecule"),
        (("xenon.xyz", "-m", model_file), "not Xe"),
        (("acid.xyz",), "no embedded model knows H Cl: name yours with --model"),
        (("water.tgh", "--charge", 1), "water.tgh holds the number of electrons itself"),
        (("water.tgh@milk",), "holds no sample 'milk'"),
        (("nowhere.xyz",), "no structure file nowhere.xyz"),
        (("water.xyz", "--plot", "w.doc"), "--plot w.doc: a picture ends in"),
        (("water.xyz", "--json", "nowhere/w.json"), "--json nowhere/w.json: there is no folder"),
        (("box.xyz",), "box.xyz is periodic (pbc [True, True, True]), and levels are those of a molecule"),
        (("water.xyz", "--around", 0), "--around"),
    ):
        code, out, err = levels(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("tracegrad: error: ")
        assert message in err


def test_a_delta_model_without_pyscf(levels, here, monkeypatch):
    model = write_delta_model(here / "delta.safetensors")
    monkeypatch.setitem(sys.modules, "pyscf", None)
    code, out, err = levels("water.xyz", "-m", model)
    assert (code, out) == (2, "")
    assert err == "tracegrad: error: calculations of molecules need PySCF: pip install 'ase_tracegrad[molecules]'\n"


def test_picture(water):
    """One line per level; degenerate ones share a rung."""
    levels = ElectronicStructure(water).find_levels()
    ax = plot_levels(levels, title="water")
    heights = [line.get_ydata()[0] for line in ax.lines]
    assert levels.homo in heights
    assert levels.lumo in heights
    assert levels.energies[0] not in heights
    assert len(plot_levels(levels, window=(-600, 200)).lines) == len(levels.energies)
    with pytest.raises(ValueError, match="lowest energy must come first"):
        plot_levels(levels, window=(5, -5))
