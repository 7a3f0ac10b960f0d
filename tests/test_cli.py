"""The command line: what it writes, and one line with exit code 2 for everything wrong."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, graphene, molecule, mx2
from ase.io import read, write
from ase.io.jsonio import read_json
from matplotlib.image import imread

import ase_tracegrad
from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.cli import main
from ase_tracegrad.electronic.block_lanczos import NoConvergenceError
from ase_tracegrad.electronic.mkl import MklNotInstalledError
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.labels.errors import LabelError
from ase_tracegrad.models import find_model
from ase_tracegrad.nn.checkpoint_header import has_checksum
from tests.calculator_cases import EMBEDDED, needs_embedded, write_untrained_model

TRACEGRAD = str(Path(sys.executable).parent / "tracegrad")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory, graphene_store):
    path = tmp_path_factory.mktemp("models") / "untrained.safetensors"
    write_untrained_model(path, graphene_store.basis)
    return str(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("sheet.xyz", graphene(vacuum=5.0), format="extxyz")
    return tmp_path


# -- what it writes ------------------------------------------------------------------------------------


def test_bands(tracegrad, here, model_file):
    arguments = ("bands", "sheet.xyz", "--model", model_file, "--path", "GMK", "--npoints", 12, "--kpts", "3,3,1", "--out", "b.svg")
    code, out, _ = tracegrad(*arguments)
    assert code == 0
    assert "wrote b.svg and b.json" in out
    assert "Fermi level" in out
    assert "<svg" in Path("b.svg").read_text()
    atoms = read("sheet.xyz")
    atoms.calc = TraceGradCalculator(model_file, kpts=(3, 3, 1), fermi_kpts=(3, 3, 1))
    expected = atoms.calc.band_structure("GMK", 12)
    found = read_json("b.json")
    assert np.allclose(found.energies, expected.energies, atol=1e-3)
    assert found.reference == pytest.approx(expected.reference, abs=1e-3)


def test_dos(tracegrad, here, model_file):
    code, _, _ = tracegrad("dos", "sheet.xyz", "-m", model_file, "--kpts", "2x2x1", "--width", 0, "--out", "d.png")
    numbers = json.loads(Path("d.json").read_text())
    assert code == 0
    assert Path("d.png").stat().st_size > 5000
    assert min(imread("d.png").shape[:2]) >= 600  # dots: enough to print
    assert len(numbers["energies"]) == len(numbers["dos"])
    assert numbers["energy_zero"] == "Fermi level"


def test_fat_bands(tracegrad, here, model_file):
    arguments = ("bands", "sheet.xyz", "-m", model_file, "--path", "GMK", "--npoints", 9, "--kpts", "2,2,1", "--fat", "shell")
    code, out, _ = tracegrad(*arguments, "--out", "fat.png")
    assert code == 0
    assert "wrote fat.png, fat.json and fat-shares.json" in out
    assert Path("fat.png").stat().st_size > 10_000
    shares = json.loads(Path("fat-shares.json").read_text())
    assert list(shares) == ["C s", "C p", "C d"]
    assert np.shape(shares["C p"]) == read_json("fat.json").energies.shape[1:]
    assert np.allclose(np.sum(list(shares.values()), axis=0), 1.0)


@pytest.mark.parametrize("width", [0.2, 0])
def test_projected_dos(tracegrad, here, model_file, width):
    code, _, _ = tracegrad("dos", "sheet.xyz", "-m", model_file, "--kpts", "2,2,1", "--width", width, "--by", "atom")
    numbers = json.loads(Path("dos.json").read_text())
    assert code == 0
    assert Path("dos.png").stat().st_size > 5000
    assert list(numbers["projections"]) == ["C 0", "C 1"]
    total = np.array(numbers["dos"])
    assert np.allclose(np.sum(list(numbers["projections"].values()), axis=0), total, atol=1e-8 * total.max())
    assert numbers["energy_zero"] == "Fermi level"


def test_symmetry(tracegrad, here, model_file):
    code, out, _ = tracegrad("symmetry", "sheet.xyz", "-m", model_file)
    assert code == 0
    assert out.startswith("p6/mmm: 24 operations\n")
    rows = {line[:28].strip(): line[28:].split() for line in out.splitlines()}
    assert float(rows["space group"][0]) < 1.0  # meV: the network is equivariant whatever its weights
    assert {"hermiticity", "time reversal", "M = (0.5, 0, 0)"} <= set(rows)
    assert "2" in rows["K = (0.3333, 0.3333, 0)"][1:]
    atoms = read("sheet.xyz")
    atoms.positions[0, 0] += 0.05
    write("moved.xyz", atoms)
    lower = tracegrad("symmetry", "moved.xyz", "-m", model_file)[1]
    assert int(lower.split(":")[1].split()[0]) < 24
    coarse = tracegrad("symmetry", "moved.xyz", "-m", model_file, "--tolerance", 0.2)[1]
    assert coarse.startswith("p6/mmm: 24 operations")


def test_gap(tracegrad, here, model_file):
    code, out, _ = tracegrad("gap", "sheet.xyz", "-m", model_file, "--kpts", "2.0", "--out", "g.json", "--dtype", "float64")
    numbers = json.loads(Path("g.json").read_text())
    atoms = read("sheet.xyz")
    atoms.calc = TraceGradCalculator(model_file, dtype="float64", kpts=2.0)
    assert code == 0
    assert out.startswith("Fermi level")
    assert numbers["direct_gap"] == pytest.approx(atoms.calc.band_gap().direct_gap, abs=1e-9)


def test_predict_packed(tracegrad, here, model_file):
    write("many.traj", [graphene(a=a, vacuum=5.0) for a in (2.4, 2.5)])
    code, out, _ = tracegrad("predict", "sheet.xyz", "many.traj@:", "-m", model_file, "--out", "p.tgh", "--batch", 2)
    assert code == 0
    assert "3 structure(s)" in out
    with StoreReader("p.tgh") as store:
        assert store.names == ["many.traj@0", "many.traj@1", "sheet.xyz"]
        sample = store["sheet.xyz"]
    expected = TraceGradCalculator(model_file).hamiltonian(read("sheet.xyz"))
    assert np.abs(sample.hamiltonian.restricted_to(expected).values - expected.values).max() < 1e-5
    frames = read("p.tgh@:")
    assert [a.info["name"] for a in frames] == ["many.traj@0", "many.traj@1", "sheet.xyz"]
    assert np.allclose(read("p.tgh").positions, read("sheet.xyz").positions)


@pytest.mark.parametrize("form", ["deeph", "deeph-legacy"])
def test_predict_for_deeph(form, tracegrad, here, model_file):
    code, _, _ = tracegrad("predict", "sheet.xyz", "-m", model_file, "--format", form, "--out", "deeph")
    assert code == 0
    sample = ase_tracegrad.read("deeph/sheet.xyz")
    calc, atoms = TraceGradCalculator(model_file), read("sheet.xyz")
    kpts = [[0.1, 0.2, 0.0]]
    expected = ase_tracegrad.compute_bands(calc.hamiltonian(atoms), calc.overlap(atoms), kpts)
    assert sample.hamiltonian.index.keys() == sample.overlap.index.keys()
    # Empty bands far up amplify the network's rounding in float32.
    assert np.allclose(ase_tracegrad.compute_bands(sample.hamiltonian, sample.overlap, kpts)[:, :8], expected[:, :8], atol=1e-3)


def test_info(tracegrad, here, model_file):
    code, out, _ = tracegrad("info", "sheet.xyz", "-m", model_file)
    assert code == 0
    for fact in ("C2, 2 atoms, periodic along a b", "orbitals: 26", "valence electrons: 8", "inside", "random weights"):
        assert fact in out


def test_info_on_an_element_that_the_model_does_not_know(tracegrad, here, model_file):
    """It still tells what it can: the structure, the reason, and what the model is for."""
    write("silicon.xyz", bulk("Si"), format="extxyz")
    code, out, err = tracegrad("info", "silicon.xyz", "-m", model_file)
    assert (code, err) == (0, "")
    for fact in ("Si2, 2 atoms, periodic along a b c", "cannot be predicted: model 'untrained' knows C, not Si", "random weights"):
        assert fact in out


@needs_embedded
def test_the_model_of_a_crystal_is_found_by_its_elements(tracegrad, here):
    """Without --model; graphene-pbe, as before, for what no model of crystals knows and for what is no crystal."""
    sulfide = mx2("MoS2", vacuum=5.0)
    for atoms, expected in (
        (bulk("Si"), "silicon-pbe"),
        (sulfide, "mos2-pbe"),
        (graphene(vacuum=5.0), "graphene-pbe"),
        (bulk("Ge"), "graphene-pbe"),
        (molecule("CH4"), "graphene-pbe"),
    ):
        write("any.xyz", atoms, format="extxyz")
        code, out, _ = tracegrad("info", "any.xyz")
        assert code == 0
        assert re.search(r"^ +model +(\S+)$", out, re.MULTILINE)[1] == expected


def test_models(tracegrad, model_file):
    assert tracegrad("models", "verify", model_file)[:2] == (0, f"{model_file}: ok\n")
    for command in ("info", "show"):
        assert "random weights" in tracegrad("models", command, model_file)[1]
    names = ase_tracegrad.available_models()
    assert all(has_checksum(find_model(name)) for name in names)
    for arguments in (("models",), ("models", "list")):
        code, out, _ = tracegrad(*arguments)
        assert code == 0
        assert [line.split(":")[0] for line in out.splitlines()] == names


@needs_embedded
def test_defaults_use_the_embedded_model(tracegrad, here):
    code, out, _ = tracegrad("gap", "sheet.xyz")
    assert code == 0
    assert "semimetal: bands touch at K = (0.3333, 0.3333, 0)" in out
    assert EMBEDDED in tracegrad("models")[1]


@needs_embedded
def test_demo(tracegrad, here):
    code, out, _ = tracegrad("demo", "--out", "pictures")
    assert code == 0
    assert "smallest gap" in out or "this is K" in out
    assert {p.name for p in Path("pictures").iterdir()} >= {"bands.png", "dos.png"}


def test_outside_the_training_domain_is_a_warning(tracegrad, here, model_file):
    write("dense.xyz", graphene(a=1.81, vacuum=5.0), format="extxyz")
    code, _, err = tracegrad("gap", "dense.xyz", "-m", model_file, "--kpts", "1,1,1")
    assert code == 0
    first, *more = err.splitlines()  # random weights on a dense sheet may also give ghost states, which is a warning of its own
    assert first.startswith("tracegrad: warning: outside the training domain of untrained: C-C distance of 1.045")
    assert all(line.startswith("tracegrad: warning: ") for line in more)


# -- what it refuses -----------------------------------------------------------------------------------


def write_bad_structures():
    sheet = graphene(vacuum=5.0)
    cases = {name: sheet.copy() for name in ("close", "nan", "flat", "empty")}
    cases["close"].positions[1] = cases["close"].positions[0] + [0.1, 0, 0]
    cases["nan"].positions[0, 1] = np.nan
    cases["flat"].cell[:] = 0
    cases["empty"] = sheet[:0]
    cases["germanium"] = bulk("Ge")
    for name, atoms in cases.items():
        write(f"{name}.xyz", atoms, format="extxyz")
    write("many.traj", [sheet, sheet])
    Path("text.xyz").write_text("these are\nno atoms\n")
    Path("misspelt.xyz").write_text("1\n\nKc 0 0 0\n")
    Path("noise.cif").write_bytes(bytes(range(256)))
    Path("empty.traj").write_bytes(b"")
    Path("damaged.safetensors").write_bytes(b"\x07\x00\x00\x00\x00\x00\x00\x00{}")


WRONG = {
    "unknown element": (("gap", "germanium.xyz"), "not Ge"),
    "atoms too close": (("bands", "close.xyz"), "0.100 Angstrom apart"),
    "nan position": (("dos", "nan.xyz"), "position of atom 0 is not finite"),
    "no cell": (("gap", "flat.xyz"), "cell vector is zero"),
    "no atoms": (("gap", "empty.xyz"), "no atoms"),
    "no atoms for predict": (("predict", "empty.xyz"), "structure 0: the structure holds no atoms"),
    "missing file": (("gap", "nowhere.xyz"), "no structure file nowhere.xyz"),
    "text file": (("gap", "text.xyz"), "text.xyz cannot be read as a structure"),
    "no element": (("gap", "misspelt.xyz"), "no element 'Kc'"),
    "binary file": (("gap", "noise.cif"), "noise.cif cannot be read as a structure"),
    "empty file": (("gap", "empty.traj"), "empty.traj cannot be read as a structure"),
    "frame out of range": (("gap", "many.traj@7"), "many.traj@7 cannot be read: many.traj holds 2 structure(s), counted from 0"),
    "several frames": (("gap", "many.traj@:"), "2 structures; pick one"),
    "unknown model": (("gap", "sheet.xyz", "--model", "grafene"), "no model named 'grafene'"),
    "missing checkpoint": (("gap", "sheet.xyz", "--model", "no/model.safetensors"), "no model file"),
    "damaged checkpoint": (("models", "verify", "damaged.safetensors"), "damaged.safetensors is not"),
    "damaged card": (("models", "show", "damaged.safetensors"), "damaged.safetensors is not"),
    "wrong device": (("gap", "sheet.xyz", "--device", "tpu"), "device 'tpu' cannot be used"),
    "absent gpu": (("gap", "sheet.xyz", "--device", "cuda:77"), "cuda:77"),
    "wrong dtype": (("gap", "sheet.xyz", "--dtype", "float16"), "float16"),
    "kpts": (("gap", "sheet.xyz", "--kpts", "2,2"), "--kpts 2,2: expected"),
    "path hint": (("bands", "sheet.xyz", "--path", "G-M"), "'-' is none of the special points"),
    "kpts zero": (("gap", "sheet.xyz", "--kpts", "0,2,2"), "positive"),
    "kpts text": (("gap", "sheet.xyz", "--kpts", "dense"), "--kpts dense: expected"),
    "path": (("bands", "sheet.xyz", "--path", "GQ"), "special points G, K, M"),
    "window order": (("bands", "sheet.xyz", "--window", "5,-5"), "lowest energy must come first"),
    "empty window of bands": (("bands", "sheet.xyz", "--window", "9000,9999", "--npoints", "4"), "no states in the window 9000"),
    "empty window of fat bands": (("bands", "sheet.xyz", "--fat", "atom", "--window", "9000,9999"), "no states in the window"),
    "empty window of a dos": (("dos", "sheet.xyz", "--kpts", "1,1,1", "--window", "500,600"), "no states in the window"),
    "window": (("dos", "sheet.xyz", "--window", "5"), "two energies"),
    "fat": (("bands", "sheet.xyz", "--fat", "spin"), "atom, element, shell or orbital"),
    "by": (("dos", "sheet.xyz", "--by", "spin"), "atom, element, shell or orbital"),
    "tolerance": (("symmetry", "sheet.xyz", "--tolerance", "-1"), "--tolerance"),
    "picture": (("bands", "sheet.xyz", "--out", "b.doc"), ".png, .pdf, .svg"),
    "folder": (("bands", "sheet.xyz", "--out", "nowhere/b.png"), "there is no folder"),
    "negative width": (("dos", "sheet.xyz", "--width", "-1"), "--width"),
    "npoints": (("bands", "sheet.xyz", "--npoints", "many"), "--npoints"),
    "format": (("predict", "sheet.xyz", "--format", "xml"), "packed, deeph or deeph-legacy"),
    "format against out": (("predict", "sheet.xyz", "--format", "deeph", "--out", "p.h5"), "contradict each other"),
    "packed into a folder": (("predict", "sheet.xyz", "--out", "folder"), "contradict each other"),
    "same name twice": (("predict", "sheet.xyz", "sheet.xyz"), "both be called sheet.xyz"),
    "batch": (("predict", "sheet.xyz", "--batch", "0"), "--batch 0"),
    "unknown option": (("gap", "sheet.xyz", "--kpoints", "3"), "--kpoints"),
    "unknown command": (("band", "sheet.xyz"), "band"),
    "no structure": (("gap",), "STRUCTURE"),
    "empty path": (("bands", "sheet.xyz", "--path", ""), "expected special points"),
    "few points": (("bands", "sheet.xyz", "--path", "GMKG", "--npoints", "3"), "npoints=3 is too few"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_input_is_one_line_and_code_2(case, tracegrad, here, model_file):
    write_bad_structures()
    arguments, message = WRONG[case]
    if "--model" not in arguments and arguments[0] in ("gap", "bands", "dos", "symmetry", "predict"):
        arguments = (*arguments, "--model", model_file)
    before = set(here.iterdir())
    code, out, err = tracegrad(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("tracegrad: error: ")
    assert err.count("\n") == 1, err
    assert message in err
    assert set(here.iterdir()) == before, "nothing half-finished is left behind"


def test_version(tracegrad):
    assert tracegrad("--version")[:2] == (0, f"ase_tracegrad {ase_tracegrad.__version__}\n")


def test_a_molecule_for_a_model_of_crystals_is_named(tracegrad, here, model_file):
    lonely = graphene(a=1.7)
    lonely.pbc, lonely.cell = False, None
    write("lonely.xyz", lonely, format="xyz")
    code, _, err = tracegrad("gap", "lonely.xyz", "-m", model_file)
    assert code == 0
    assert "the structure is not periodic: the file has no cell or pbc" in err


def test_dos_by_tetrahedra_where_there_are_bands(tracegrad, here, model_file):
    sums = []
    for width in ([], ["--width", 0]):
        tracegrad("dos", "sheet.xyz", "-m", model_file, "--kpts", "2,2,1", *width)
        sums.append(json.loads(Path("dos.json").read_text())["dos"])
    assert sums[0] == sums[1]


def test_a_bug_is_not_dressed_up_as_wrong_input(monkeypatch, here, model_file):
    monkeypatch.setattr(TraceGradCalculator, "band_gap", lambda *_, **__: {}["bug"])
    with pytest.raises(KeyError):
        main(["gap", "sheet.xyz", "-m", model_file])


def test_a_database_of_others_stays_as_it_is(tracegrad, here):
    """ase.io.read would write ASE's tables into it."""
    with closing(sqlite3.connect("qh9.db")) as connection:
        connection.execute("create table data (id integer)")
        connection.commit()
    before = Path("qh9.db").read_bytes()
    code, _, err = tracegrad("gap", "qh9.db")
    assert code == 2
    assert "qh9.db cannot be read as a structure: ValueError: it is no database of ASE" in err
    assert Path("qh9.db").read_bytes() == before


def test_installed_command(here):
    result = subprocess.run([TRACEGRAD, "gap", "nowhere.xyz"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "tracegrad: error: no structure file nowhere.xyz\n")
    shown, plain = (
        subprocess.run([TRACEGRAD, *arguments], capture_output=True, text=True, check=True).stdout for arguments in (["--help"], [])
    )
    assert plain == shown
    assert all(command in shown for command in ("bands", "dos", "gap", "symmetry", "predict", "info", "models"))


def test_an_interrupt_is_exit_code_130(tracegrad, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ase_tracegrad.band_commands.attach", interrupt)
    code, out, complaint = tracegrad("gap", "sheet.xyz")
    assert (code, out) == (130, "")
    assert "Traceback" not in complaint


def test_every_error_class_of_the_package_is_a_line(monkeypatch, tracegrad, here, model_file):
    """Also those that are no ValueError: the message is all the user sees."""
    for error in (NoConvergenceError("raise max_steps"), MklNotInstalledError("install\nMKL"), LabelError("no label")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(TraceGradCalculator, "band_gap", fail)
        message = " ".join(str(error).split())
        assert tracegrad("gap", "sheet.xyz", "-m", model_file) == (2, "", f"tracegrad: error: {message}\n")
