"""tracegrad convert from end to end, with made-up OpenMX-like data."""

import h5py
import numpy as np
import pytest

import ase_tracegrad
from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.io import Sample, read, read_basis
from ase_tracegrad.io.deeph import write_deeph_legacy
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure
from tests.io.samples import random_matrix
from tests.io.test_basis_files import write_pao

SHELLS = {"C": "s2p1"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """C.pao, and two carbon structures in data/ with the S that follows from it."""
    monkeypatch.chdir(tmp_path)
    write_pao(tmp_path / "C.pao")
    basis = read_basis({"C": "C.pao"}, SHELLS)
    bare = Basis({6: AtomicBasis(6, basis[6].angular_momenta)})
    for n in range(2):
        structure = Structure([6, 6], [[0, 0, 0], [0.1 * n, 0.2, 1.3]], np.diag([3.0, 3.2, 4]), [True] * 3)
        overlap = compute_overlap(structure, basis)
        hamiltonian = random_matrix(structure, bare, basis[6].reach, "spinor", n)
        write_deeph_legacy(tmp_path / "data" / f"x{n}", Sample(structure, bare, hamiltonian, overlap, {"fermi_level": 0.5}))
    return tmp_path


def test_from_a_database_to_training_data_and_back(here, tracegrad):
    code, out, err = tracegrad("convert", "data", "all.tgh", "--basis", "C.pao:s2p1")
    assert (code, err) == (0, "")
    assert "wrote all.tgh: 2 structure(s) in the format packed" in out
    assert float(out.split("equals that of the first structure to ")[1].split()[0]) < 1e-12
    with StoreReader("all.tgh") as store:
        assert store.names == ["x0", "x1"]
        sample = store["x1"]
    assert sample.info["n_electrons"] == 8
    assert sample.hamiltonian.spin == "spinor"
    assert np.abs((compute_overlap(sample.structure, sample.basis) - sample.overlap).values).max() < 1e-12
    assert tracegrad("convert", "all.tgh", "new")[1].endswith("wrote new: 2 structure(s) in the format deeph\n")
    assert tracegrad("convert", "new", "back", "--format", "deeph-legacy")[0] == 0
    for file in ("hamiltonians.h5", "overlaps.h5"):
        with h5py.File(here / "data" / "x1" / file) as first, h5py.File(here / "back" / "x1" / file) as last:
            assert first.keys() == last.keys()
            assert all(np.array_equal(first[key][()], last[key][()]) for key in first)
    again = tracegrad("convert", "new", "back", "--format", "deeph-legacy")
    assert again[1].endswith("wrote back: 0 structure(s) in the format deeph-legacy, 2 were there from an earlier run\n")


def test_ones_own_data_are_ready_for_training(here, tracegrad):
    """Splits and electrons: what training asks for."""
    basis = read_basis({"C": "C.pao"}, SHELLS)
    for n in range(2):
        structure = Structure([6, 6], [[0, 0, 0], [0.1 * n, 0.2, 1.3]], np.diag([3.0, 3.2, 4]), [True] * 3)
        hamiltonian = random_matrix(structure, basis, basis[6].reach, "none", n)
        sample = Sample(structure, basis, hamiltonian, compute_overlap(structure, basis), {"fermi_level": 0.5})
        write_deeph_legacy(here / "own" / f"x{n}", sample)
    listed = here / "splits.json"
    listed.write_text('{"train": ["x0"], "validation": ["x1"]}')
    code, _, err = tracegrad("convert", "own", "own.h5", "--basis", "C.pao:s2p1", "--splits", listed)
    assert (code, err) == (0, "")
    with StoreReader("own.h5") as store:
        assert {name: store.split(name) for name in store.names} == {"x0": "train", "x1": "validation"}
    (here / "own.yaml").write_text("data: own.h5\nout: run\n")
    code, out, _ = tracegrad("train", "own.yaml", "--dry-run")
    assert code == 0, out
    assert "data: own.h5: 1 train, 1 validation" in out


def test_valence_from_tables_and_by_hand(here, tracegrad):
    assert tracegrad("convert", "data/x0", "one.tgh", "--code", "openmx", "--compact")[0] == 0
    assert ase_tracegrad.read("one.tgh").info["n_electrons"] == 8
    assert tracegrad("convert", "data/x0", "new", "--valence", "C=2")[0] == 0
    assert read("new").info["n_electrons"] == 4
    # A count given by hand stands above the one in the file, a table does not.
    assert tracegrad("convert", "new", "three.h5", "--valence", "C=3")[0] == 0
    assert read("three.h5").info["n_electrons"] == 6
    assert tracegrad("convert", "new", "two.h5", "--code", "openmx")[0] == 0
    assert read("two.h5").info["n_electrons"] == 4
    assert "element(s) [6] is unknown" in tracegrad("convert", "new", "x.h5", "--valence", "Si=4")[2]
    assert tracegrad("convert", "data/x0", "bare.h5")[0] == 0
    assert "n_electrons" not in read("bare.h5").info


def test_broken_structures(here, tracegrad):
    (here / "data" / "x0" / "lat.dat").unlink()
    code, _, err = tracegrad("convert", "data", "all.tgh")
    assert code == 2
    assert "1 of 2 structures cannot be converted, first x0:" in err
    assert "lat.dat is missing" in err
    code, out, err = tracegrad("convert", "data", "all.tgh", "--skip-broken")
    assert code == 0
    assert "left out x0: " in err
    assert "1 were there from an earlier run" in out


WRONG = {
    "no source": (("nothing", "x"), "there is no file or folder nothing"),
    "format": (("data", "x", "--format", "npz"), "expected packed, deeph or deeph-legacy"),
    "compact": (("data", "x", "--compact"), "--compact is for packed files"),
    "folder": (("data", "no/x.h5"), "there is no folder"),
    "valence": (("data", "x", "--valence", "C"), "expected an element and a number, such as Mo=14"),
    "code": (("data", "x", "--code", "vasp"), "no table of valence electrons for 'vasp'"),
    "basis file": (("data", "x", "--basis", "Si.ion"), "no basis file Si.ion"),
    "shells": (("data", "x.h5", "--basis", "C.pao:s1p1"), "the basis file of C gives the shells s1p1, the data hold s2p1"),
    "no shells": (("data", "x.h5", "--basis", "C.pao"), "such as shells='s3p2d2'"),
    "other file": (("data", "x.h5", "--basis", "other.pao:s2p1"), "S from the basis files differs from S of the data by"),
    "two files": (("data", "x.h5", "--basis", "C.pao:s2p1", "--basis", "other.pao:s2p1"), "are both basis files of C"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_refused_with_one_line(here, tracegrad, arguments, message):
    write_pao(here / "other.pao", cutoff=4.5)
    code, out, err = tracegrad("convert", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
