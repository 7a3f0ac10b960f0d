"""prepare.py: what a download is checked for, how it is split, and real OpenMX labels on their way into the packed file."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ase_tracegrad.fit.config import load_config
from ase_tracegrad.fit.published import band_difference
from ase_tracegrad.graph import build_graph
from ase_tracegrad.io import read
from ase_tracegrad.io.deeph import write_deeph, write_deeph_legacy
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.splits import SPLITS
from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.labels.campaign import label_path
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.structure import Structure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def databases(script):
    return script("databases")


@pytest.fixture
def prepare(script, monkeypatch):
    """The script, with the campaign in this process."""
    prepare = script("prepare")

    def run_campaign(jobs, out, *, workers):
        rows = []
        for job in jobs:
            if label_path(out, job.name).exists():
                rows.append({"name": job.name, "ok": True, "error": None, "seconds": 0.0})
                continue
            try:
                sample = job.compute(**job.arguments)
            except ValueError as error:
                rows.append({"name": job.name, "ok": False, "error": str(error), "seconds": 0.0})
                continue
            with StoreWriter(label_path(out, job.name)) as store:
                store.add(job.name, sample)
            rows.append({"name": job.name, "ok": True, "error": None, "seconds": 0.1})
        return rows

    monkeypatch.setattr(prepare, "run_campaign", run_campaign)
    return prepare


def write_folder(folder: Path, basis, make_matrix, seed=0, numbers=(6, 6), spin="none", write=write_deeph_legacy):
    rng = np.random.default_rng(seed)
    structure = Structure(numbers, rng.uniform(0, 2, (len(numbers), 3)), np.diag([3.0, 3, 12]), [True] * 3)
    shells = [basis[z].angular_momenta for z in numbers]
    sample = Sample(structure, basis, make_matrix(shells, spin, seed), make_matrix(shells, "none", seed), {"fermi_level": -4.0})
    write(folder, sample)


@pytest.fixture
def download(tmp_path, databases, make_matrix):
    """Ten small random 'graphene' structures, two of them in the new format, at different depths."""
    basis = databases.DATABASES["MG"].bare_basis()
    for k in range(10):
        folder = tmp_path / "download" / ("a" if k < 5 else "b/c") / str(k)
        write_folder(folder, basis, make_matrix, k, write=write_deeph if k > 7 else write_deeph_legacy)
    return tmp_path / "download"


def call(prepare, monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["prepare.py", *map(str, arguments)])
    code = 0
    try:
        prepare.main()
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def test_published_sizes_give_the_published_splits(databases):
    for name, sizes in (("MG", (270, 90, 90)), ("MM", (300, 100, 100)), ("BG", (180, 60, 60)), ("BB", (231, 113, 113))):
        database = databases.DATABASES[name]
        assert database.structures == sum(sizes)
        names = [str(k) for k in range(sum(sizes))]
        splits = databases.assign_splits(database, names)
        assert Counter(splits.values()) == dict(zip(SPLITS, sizes, strict=True))
        assert splits == databases.assign_splits(database, names[::-1])
    assert databases.DATABASES["BT"].structures is None
    counts = Counter(databases.assign_splits(databases.DATABASES["BT"], [str(k) for k in range(200)]).values())
    assert counts == {"train": 160, "validation": 30, "test": 10}


def test_a_part_is_split_kind_by_kind(databases):
    names = [f"x2_{k:03d}" for k in range(45)] + [f"x3_{k:03d}" for k in range(13)] + ["prim"]
    splits = databases.assign_splits(databases.DATABASES["MG"], names)
    counts = Counter((name.split("_")[0], split) for name, split in splits.items())
    assert [counts["x2", s] for s in SPLITS] == [27, 9, 9]
    assert [counts["x3", s] for s in SPLITS] == [7, 3, 3]
    assert splits["prim"] == "test"
    with pytest.raises(ValueError, match="too few for three splits"):
        databases.assign_splits(databases.DATABASES["MG"], ["a", "b"])


def test_shells_of_the_basis(databases):
    basis = databases.DATABASES["MM"].bare_basis()
    assert basis[42].angular_momenta == (0, 0, 0, 1, 1, 2, 2)
    assert basis[16].angular_momenta == (0, 0, 1, 1, 2)
    assert basis.count_electrons([42, 16, 16]) == 26


def test_a_download_becomes_a_packed_file(prepare, download, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    code, stdout, stderr = call(prepare, monkeypatch, capsys, "mg", download, "--out", out, "--partial")
    assert code == 0, stderr
    assert "10 structures found, 450 are published" in stderr
    assert "6 train, 2 validation, 2 test" in stdout
    assert "not checked, no --pao" in stdout
    with StoreReader(out / "mg.h5") as store:
        assert store.names == [*(f"a-{k}" for k in range(5)), *(f"b-c-{k}" for k in range(5, 10))]
        assert Counter(map(store.split, store.names)) == {"train": 6, "validation": 2, "test": 2}
        assert {store.facts(name)["group"] for name in store.names} == {"MG a", "MG b-c"}
        assert store.basis[6].valence == 4
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["structures"] == {"train": 6, "validation": 2, "test": 2}
    assert len(manifest["content_sha256"]) == 64
    assert not (out / "pieces").exists()
    code, _, stderr = call(prepare, monkeypatch, capsys, "mg", download, "--out", out, "--partial")
    assert code == 2
    assert "is there already: delete it" in stderr


def test_an_incomplete_download_is_refused(prepare, download, tmp_path, monkeypatch, capsys):
    (download / "a" / "3" / "hamiltonians.h5").unlink()
    code, _, stderr = call(prepare, monkeypatch, capsys, "MG", download, "--out", tmp_path / "out")
    assert code == 2
    assert "3 lacks hamiltonians.h5: the download is not complete" in stderr
    assert "9 structures found, 450 are published; --partial takes what is there" in stderr
    assert "2 problem(s) with" in stderr
    assert not (tmp_path / "out").exists()


def test_a_structure_with_a_missing_or_damaged_small_file_is_left_out(prepare, download, tmp_path, monkeypatch, capsys):
    """All of them are named at once; --partial goes on without them."""
    (download / "a" / "0" / "element.dat").unlink()
    (download / "a" / "1" / "element.dat").write_text("")
    info = download / "a" / "2" / "info.json"
    info.write_text(info.read_text()[:10])
    code, stdout, stderr = call(prepare, monkeypatch, capsys, "MG", download, "--out", tmp_path / "out", "--partial")
    assert code == 0, stderr
    assert re.search(r"a/0/element\.dat is missing; the folder holds .*: the download is not complete", stderr)
    assert re.search(r"a/1: element\.dat, .* give no structure", stderr)
    assert re.search(r"a/2/info\.json is not readable", stderr)
    with StoreReader(tmp_path / "out" / "mg.h5") as store:
        assert len(store) == 7
    assert f"train with  tracegrad train training/configs/mg.yaml --set data={tmp_path / 'out' / 'mg.h5'}" in stdout
    for folder in download.rglob("info.json"):
        folder.unlink()
    code, _, stderr = call(prepare, monkeypatch, capsys, "MG", download, "--out", tmp_path / "none", "--partial")
    assert code == 2
    assert "holds no complete structure" in stderr
    assert "info.json is missing" in stderr


def test_pao_is_a_folder(prepare, download, tmp_path, monkeypatch, capsys):
    file = tmp_path / "C6.0.pao"
    file.write_text("")
    code, _, stderr = call(prepare, monkeypatch, capsys, "MG", download, "--out", tmp_path / "out", "--pao", file)
    assert code == 2
    assert f"--pao {file}: expected the folder of OpenMX's .pao files" in stderr


def test_the_wrong_database_is_refused(prepare, download, databases, make_matrix, tmp_path, monkeypatch, capsys):
    code, _, stderr = call(prepare, monkeypatch, capsys, "MM", download, "--out", tmp_path / "out", "--partial")
    assert code == 2
    assert "holds C, the database is of S Mo: is this the right folder?" in stderr
    basis = databases.DATABASES["BB"].bare_basis()
    for k in range(6):
        write_folder(tmp_path / "bismuth" / str(k), basis, make_matrix, k, (83,))
    code, _, stderr = call(prepare, monkeypatch, capsys, "BB", tmp_path / "bismuth", "--out", tmp_path / "out")
    assert code == 2
    assert "holds labels without spin-orbit coupling, BB is with" in stderr
    code, _, stderr = call(prepare, monkeypatch, capsys, "MG", tmp_path / "nowhere")
    assert code == 2
    assert "no folder" in stderr


def test_a_damaged_structure_is_named_and_the_rest_is_kept(prepare, download, tmp_path, monkeypatch, capsys):
    victim = download / "a" / "3" / "hamiltonians.h5"
    content = victim.read_bytes()
    victim.write_bytes(content[:1000])
    out = tmp_path / "out"
    code, _, stderr = call(prepare, monkeypatch, capsys, "MG", download, "--out", out, "--partial")
    assert code == 2
    assert "1 of 10 structures cannot be used: a-3:" in stderr
    assert len(list((out / "pieces").glob("*.h5"))) == 9
    before = (out / "pieces" / "a-0.h5").stat().st_mtime_ns
    victim.write_bytes(content)
    code, _, stderr = call(prepare, monkeypatch, capsys, "MG", download, "--out", out, "--partial", "--check-bands")
    assert code == 2
    assert "was begun with other options" in stderr  # what is finished was not checked
    read = []
    original = prepare.read_published
    monkeypatch.setattr(prepare, "read_published", lambda **arguments: read.append(1) or original(**arguments))
    assert before
    assert call(prepare, monkeypatch, capsys, "MG", download, "--out", out, "--partial")[0] == 0
    assert len(read) == 1  # what was finished is not done again


def test_twisted_structures_and_splits_of_ones_own(prepare, download, databases, make_matrix, tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / "twisted" / "17", databases.DATABASES["MG"].bare_basis(), make_matrix, 99, (6, 6, 6))
    chosen = tmp_path / "splits.json"
    chosen.write_text(json.dumps({"train": ["a-0", "a-1"], "validation": ["a-2"], "test": ["b-c-9"]}))
    arguments = ["MG", download, "--out", tmp_path / "out", "--partial", "--twisted", tmp_path / "twisted", "--splits", chosen]
    assert call(prepare, monkeypatch, capsys, *arguments)[0] == 0
    with StoreReader(tmp_path / "out" / "mg.h5") as store:
        found = {name: store.split(name) for name in store.names}
    assert found == {"a-0": "train", "a-1": "train", "a-2": "validation", "b-c-9": "test", "twisted-17": "twisted"}
    chosen.write_text(json.dumps({"train": ["a-0", "nowhere"]}))
    arguments[3] = tmp_path / "other"
    code, _, stderr = call(prepare, monkeypatch, capsys, *arguments)
    assert code == 2
    assert "names ['nowhere'], which are not there" in stderr


def test_the_same_structure_twice_is_a_remark(prepare, download, tmp_path, monkeypatch, capsys):
    shutil.copytree(download / "a" / "0", download / "b" / "again")
    code, stdout, _ = call(prepare, monkeypatch, capsys, "MG", download, "--out", tmp_path / "out", "--partial")
    assert code == 0
    assert "remark: b-again and a-0 are the same structure" in stdout


def test_real_labels_reproduce_the_bands_openmx_printed(prepare, shared_data, tmp_path, monkeypatch, capsys):
    """And S comes out of the .pao files; a shifted Hamiltonian is noticed."""
    folder = tmp_path / "MG"
    for name in ("prim", *(f"x2_{k:03d}" for k in (0, 1, 2, 3, 4))):
        shutil.copytree(shared_data / "openmx" / "MG" / name, folder / name)
    arguments = ["MG", folder, "--pao", shared_data / "openmx" / "pao", "--partial", "--check-bands", "--out"]
    code, stdout, stderr = call(prepare, monkeypatch, capsys, *arguments, tmp_path / "out")
    assert code == 0, stderr
    assert "3 train, 1 validation, 2 test" in stdout
    assert "meV in 6 structures" in stdout
    with StoreReader(tmp_path / "out" / "mg.h5") as store:
        assert store.facts("prim")["group"] == "MG primitive cell"
        sample = store["x2_000"]
        assert store.basis.code == "OpenMX"
        assert store.basis[6].valence == 4
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["largest_band_difference_mev"] < 1e-3
    assert manifest["overlap_error"] < 1e-6
    assert band_difference(sample) < 1e-6

    folder.chmod(0o755)
    for path in (folder / "prim", folder / "prim" / "bands.npz"):
        path.chmod(0o755)
    with np.load(folder / "prim" / "bands.npz") as file:
        shifted = {key: file[key] for key in file.files}
    shifted["energies"] = shifted["energies"] + 0.001
    np.savez(folder / "prim" / "bands.npz", **shifted)
    code, _, stderr = call(prepare, monkeypatch, capsys, *arguments, tmp_path / "again")
    assert code == 2
    assert "prim: " in stderr
    assert "differ from the printed ones by 1 meV" in stderr


@pytest.mark.parametrize(("name", "file"), [("MM", "mm"), ("BT", "bt"), ("MG", "mg-deeph-e3")])
def test_a_configuration_fits_its_database(databases, name, file):
    """The network of the shipped file is built for the shells and the spin of the labels."""
    database = databases.DATABASES[name]
    config = load_config(ROOT / "training" / "configs" / f"{file}.yaml")
    network = build_network(config.network, database.bare_basis(), sorted(database.bare_basis().atoms))
    assert network.config.spinor == database.spinful
    assert config.data == f"training/data/{name.lower()}/{name.lower()}.h5"


@pytest.mark.parametrize(
    ("name", "structure"), [("MG", "x2_000"), ("MM", "prim"), ("BB", "prim"), ("BT", "x1_000"), ("BS", "x1_000")]
)
def test_the_pairs_of_a_configuration_are_those_of_openmx(shared_data, name, structure):
    """Not one block is cut off, and none is learned that the labels lack but for a hundredth of an Angstrom of margin."""
    sample = read(shared_data / "openmx" / name / structure)
    network = load_config(ROOT / "training" / "configs" / f"{name.lower()}.yaml").network
    reach = network.reach_of(sample.structure.numbers.tolist())
    found = []
    for margin in (0.0, 0.01):
        graph = build_graph(sample.structure, {z: length - margin / 2 for z, length in reach.items()})
        rows = zip(graph.pairs.tolist(), graph.shifts.tolist(), strict=True)
        found.append({(i, j, tuple(shift)) for (i, j), shift in rows})
    assert found[1] <= set(sample.hamiltonian.index) <= found[0]


def test_every_database_has_its_configuration(databases):
    for name, database in databases.DATABASES.items():
        config = load_config(ROOT / "training" / "configs" / f"{name.lower()}.yaml")
        reach = max(float(file[len(symbol) : -len(".pao")]) for symbol, file in database.pao_files.items())
        assert config.network.cutoff == pytest.approx(2 * reach * 0.529177, abs=0.02)
        assert config.network.spinor == database.spinful
