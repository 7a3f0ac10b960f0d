"""QH9's files: written in its schema, read back, orbital energies against PySCF, and everything that can be wrong with them."""

import os
import pickle
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from ase_tracegrad.basis_json import basis_to_json
from ase_tracegrad.io import FormatError, Sample
from ase_tracegrad.io.convert import convert
from ase_tracegrad.io.def2_svp import PYSCF_BOHR, def2_svp_basis
from ase_tracegrad.io.qh9 import QH9Reader, molecule_matrix, pyscf_matrix
from ase_tracegrad.io.qh9_rows import read_plain_pickle
from ase_tracegrad.io.qh9_writer import QH9Writer
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure
from ase_tracegrad.units import HARTREE

NAMES = ("H2O", "HF", "CH4", "N2")


def random_sample(name: str, seed: int = 0) -> Sample:
    """A molecule with a random Fock matrix."""
    atoms = molecule(name)
    structure = Structure(atoms.numbers, atoms.positions, np.zeros((3, 3)), [False] * 3)
    basis = def2_svp_basis()
    layout = basis.layout(structure.numbers)
    fock = np.random.default_rng(seed).normal(size=(layout.total, layout.total))
    matrix = molecule_matrix(layout, fock + fock.T)
    return Sample(structure, basis, matrix, compute_overlap(structure, basis), {"total_energy": -2.5 * HARTREE, "charge": 0})


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "QH9Stable.db"
    with QH9Writer(path) as writer:
        for number, name in enumerate(NAMES):
            writer.add(number, random_sample(name, number))
    return path


@pytest.fixture
def trajectory(tmp_path):
    """Two molecules with 100 geometries each."""
    path = tmp_path / "QH9Dynamic_300k.db"
    with QH9Writer(path, "dynamic") as writer:
        for number, name in ((7, "HF"), (5, "N2")):
            sample = random_sample(name, number)
            for geometry in range(100):
                writer.add(number, sample, geometry, time=50.0 * geometry, ekin=0.01)
    return path


def pickled_row(path, row: int) -> dict:
    """What QH9's code puts into its LMDB for a row of the stable database."""
    with closing(sqlite3.connect(path)) as connection, connection:
        found = connection.execute("SELECT id, N, Z, pos, Ham FROM data WHERE id = ?", (row,)).fetchone()
    return dict(zip(("id", "num_nodes", "atoms", "pos", "Ham"), found, strict=True))


def write_lmdb(folder, path):
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(folder), map_size=2**24)
    for row in range(len(NAMES)):
        with environment.begin(write=True) as transaction:
            transaction.put(row.to_bytes(4, "big"), pickle.dumps(pickled_row(path, row)))
    environment.close()
    return folder


def damage(path, command: str, *values):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(command, values)


# -- what is written is read -----------------------------------------------------------------------


def test_round_trip(database):
    with QH9Reader(database) as reader:
        assert reader.form == "stable"
        assert reader.names == ["000000", "000001", "000002", "000003"]
        assert len(list(reader)) == 4
        for number, name in enumerate(NAMES):
            expected, found = random_sample(name, number), reader[f"{number:06d}"]
            assert np.array_equal(found.structure.positions, expected.structure.positions)
            assert np.array_equal(found.structure.numbers, expected.structure.numbers)
            assert not found.structure.pbc.any()
            assert np.abs((found.hamiltonian - expected.hamiltonian).values).max() < 1e-12
            assert np.array_equal(found.overlap.values, expected.overlap.values)
            assert (found.info["id"], found.info["n_electrons"]) == (number, expected.structure.numbers.sum())
            assert reader.split(f"{number:06d}") is None


def test_the_schema_is_that_of_qh9(database, trajectory):
    """Types as QH9's own reader decodes them: int32, float64; Angstrom or Bohr; the id of dynamic rows is a blob of one int64."""
    with closing(sqlite3.connect(database)) as connection, connection:
        columns = [(name, kind) for _, name, kind, *_ in connection.execute("PRAGMA table_info(data)")]
        assert columns == [("id", "INTEGER"), ("N", "INTEGER"), ("Z", "BLOB"), ("pos", "BLOB"), ("Ham", "BLOB")]
        row = connection.execute("SELECT * FROM data WHERE id = 0").fetchone()
    atoms = molecule("H2O")
    assert row[:2] == (0, 3)
    assert np.frombuffer(row[2], np.int32).tolist() == [8, 1, 1]
    assert np.array_equal(np.frombuffer(row[3], np.float64).reshape(3, 3), atoms.positions)
    assert np.frombuffer(row[4], np.float64).size == (14 + 5 + 5) ** 2
    with closing(sqlite3.connect(trajectory)) as connection, connection:
        names = [name for _, name, *_ in connection.execute("PRAGMA table_info(data)")]
        row = connection.execute("SELECT * FROM data").fetchone()
    assert names == ["id", "geo_id", "N", "Z", "pos", "ekin", "epot", "etot", "time", "Ham", "converged"]
    assert np.frombuffer(row[0], np.int64).tolist() == [7]
    assert row[1:3] == (0, 2)
    assert np.abs(np.frombuffer(row[4], np.float64).reshape(2, 3) * PYSCF_BOHR - molecule("HF").positions).max() < 1e-14
    assert row[5:9] == pytest.approx((0.01, -2.5, -2.49, 0.0))
    assert row[10] == 1


def test_dynamic_rows(trajectory):
    with QH9Reader(trajectory, split="dynamic-geo") as reader:
        assert reader.form == "dynamic"
        assert len(reader) == 200
        sample = reader["000142"]
        assert (sample.info["id"], sample.info["geo_id"], sample.info["time"]) == (5, 42, 2100.0)
        assert np.abs(sample.structure.positions - molecule("N2").positions).max() < 1e-14
        splits = [reader.split(name) for name in reader.names]
        assert sample.info["split"] == splits[142]
        assert [splits.count(split) for split in ("train", "validation", "test")] == [160, 20, 20]


def test_the_p_orbitals_are_reordered(database):
    """PySCF's p are x, y, z, ours y, z, x; its s and d are ours. Water: shells s s s p p d, s s p, s s p."""
    with QH9Reader(database) as reader:
        record, block = reader.record(0), reader["000000"].hamiltonian.block(0, 1) / HARTREE
    rows = [0, 1, 2, 4, 5, 3, 7, 8, 6, 9, 10, 11, 12, 13]
    columns = [14, 15, 17, 18, 16]
    assert np.abs(record.fock[np.ix_(rows, columns)] - block).max() < 1e-13


def test_converted_to_a_packed_file(database, tmp_path):
    result = convert(database, tmp_path / "out.h5", "packed")
    assert result.written == ["000000", "000001", "000002", "000003"]
    with StoreReader(tmp_path / "out.h5") as store, QH9Reader(database) as reader:
        assert np.array_equal(store["000002"].hamiltonian.values, reader["000002"].hamiltonian.values)


def test_converted_with_a_published_split(trajectory, tmp_path):
    """80 / 10 / 10 of the geometries of each molecule; another form's split, and another format's data, are refused."""
    convert(trajectory, tmp_path / "out.h5", "packed", exact=False, splits="dynamic-geo")
    with StoreReader(tmp_path / "out.h5") as store, QH9Reader(trajectory, split="dynamic-geo") as reader:
        found = {name: store.split(name) for name in store.names}
        assert found == {name: reader.split(name) for name in reader.names}
        assert Counter(found.values()) == {"train": 160, "validation": 20, "test": 20}
    with pytest.raises(ValueError, match="the split of a dynamic QH9 database is dynamic-geo or dynamic-mol, found 'stable-id'"):
        convert(trajectory, tmp_path / "other.h5", "packed", splits="stable-id")
    with pytest.raises(ValueError, match="published split of QH9 databases"):
        convert(tmp_path / "out.h5", tmp_path / "other.h5", "packed", splits="dynamic-geo")


# -- against PySCF ------------------------------------------------------------------------------------


def test_orbitals_are_those_of_pyscf(database):
    """The embedded table is PySCF's def2-SVP, and S of the package is PySCF's, for a molecule of all five elements."""
    gto = pytest.importorskip("pyscf.gto")
    atoms = molecule("CH3CONH2")
    atoms.numbers[-1] = 9
    structure = Structure.from_atoms(atoms)
    ours = compute_overlap(structure, def2_svp_basis())
    positions = list(zip(atoms.symbols, atoms.positions.tolist(), strict=True))
    theirs = gto.M(atom=positions, basis="def2-svp", verbose=0, spin=None).intor("int1e_ovlp")
    assert set(atoms.numbers) == {1, 6, 7, 8, 9}
    assert np.abs(pyscf_matrix(ours) - theirs).max() < 1e-8


def test_fock_diagonalised_with_s_gives_the_orbital_energies_of_pyscf(tmp_path):
    """QH9's recipe by hand, without labels/pyscf.py: what PySCF finds for its Fock matrix is what the reader's matrices give."""
    dft = pytest.importorskip("pyscf.dft")
    from pyscf import gto
    from scipy.linalg import eigh

    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=3)
    mole = gto.M(atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), basis="def2svp", verbose=0)
    calculation = dft.RKS(mole, xc="b3lyp5")
    calculation.conv_tol, calculation.conv_tol_grad = 1e-13, 1e-8
    calculation.kernel()
    fock = calculation.get_fock()
    path = tmp_path / "water.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY,  N INTEGER, Z BLOB, pos BLOB, Ham BLOB)")
        blobs = (atoms.numbers.astype(np.int32).tobytes(), atoms.positions.tobytes(), np.ascontiguousarray(fock).tobytes())
        connection.execute("INSERT INTO data VALUES (0, 3, ?, ?, ?)", blobs)
    with QH9Reader(path) as reader:
        sample = reader["000000"]
    h, s = (matrix.bloch([0, 0, 0])[0].real for matrix in (sample.hamiltonian, sample.overlap))
    energies = eigh(h, s, eigvals_only=True) / HARTREE
    assert np.abs(energies - calculation.eig(fock, calculation.get_ovlp())[0]).max() < 1e-9
    assert np.abs(energies - calculation.mo_energy).max() < 1e-8


# -- the LMDB form ------------------------------------------------------------------------------------


def test_lmdb_form_is_the_same(database, tmp_path):
    folder = write_lmdb(tmp_path / "QH9Stable.lmdb", database)
    with QH9Reader(folder, split="stable-ood") as reader, QH9Reader(database) as expected:
        assert (reader.form, reader.names) == ("stable", expected.names)
        for name in reader.names:
            assert np.array_equal(reader[name].hamiltonian.values, expected[name].hamiltonian.values)
            assert reader.split(name) == "train"


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_pickles_of_all_protocols(protocol):
    row = {"id": 130830, "geo_id": 3, "num_nodes": 2, "atoms": b"\x01", "pos": b"x" * 300, "Ham": bytes(70000), "twin": b"x" * 300}
    assert read_plain_pickle("here", pickle.dumps(row, protocol)) == row


class Malicious:
    """Unpickling this creates a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_a_pickle_is_called(tmp_path, protocol):
    payload = pickle.dumps({"id": 1, "num_nodes": Malicious(tmp_path / "proof")}, protocol)
    with pytest.raises(FormatError, match="not loaded"):
        read_plain_pickle("here", payload)
    assert not (tmp_path / "proof").exists()
    pickle.loads(payload)  # the payload is a real one
    assert (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "pickle"),
        (b"garbage", "not loaded"),
        (pickle.dumps([1, 2]), "EMPTY_LIST"),
        (pickle.dumps(3), "no flat dictionary"),
        (pickle.dumps({"a": 1, "b": {"c": 1, "d": 2}}), "no flat dictionary"),
        (pickle.dumps({"id": np.zeros(3), "N": 3}), "STACK_GLOBAL"),
        (pickle.dumps({"id": 1, "N": 3})[:-1], "not loaded"),
    ],
)
def test_other_pickles_are_refused(payload, message):
    with pytest.raises(FormatError, match=message):
        read_plain_pickle("here", payload)


def test_truncated_lmdb(database, tmp_path):
    folder = write_lmdb(tmp_path / "QH9Stable.lmdb", database)
    file = folder / "data.mdb"
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(FormatError, match="truncated"):
        QH9Reader(folder)
    file.unlink()
    with pytest.raises(FormatError, match=r"data\.mdb"):
        QH9Reader(folder)


# -- bad files ------------------------------------------------------------------------------------------


def test_missing_files_tables_and_columns(tmp_path):
    with pytest.raises(FileNotFoundError, match="no QH9 database"):
        QH9Reader(tmp_path / "absent.db")
    path = tmp_path / "other.db"
    damage(path, "CREATE TABLE molecules (id INTEGER)")
    with pytest.raises(FormatError, match=r"expected a table 'data'.*molecules"):
        QH9Reader(path)
    damage(path, "CREATE TABLE data (id INTEGER, N INTEGER, pos BLOB)")
    with pytest.raises(FormatError, match=r"expected the columns .*found \('id', 'N', 'pos'\)"):
        QH9Reader(path)
    empty = tmp_path / "empty.db"
    damage(empty, "CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB, pos BLOB, Ham BLOB)")
    with pytest.raises(FormatError, match="no molecule"):
        QH9Reader(empty)
    text = tmp_path / "text.db"
    text.write_text("no database at all\n" * 200)
    with pytest.raises(FormatError, match="not a readable SQLite database"):
        QH9Reader(text)


def test_truncated_database(database):
    content = database.read_bytes()
    database.write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match="truncated or damaged"), QH9Reader(database) as reader:
        list(reader)


def test_a_schema_that_is_no_text(database):
    """SQLite quotes it in its message, which Python cannot decode."""
    content = database.read_bytes()
    assert b"CREATE TABLE data" in content
    database.write_bytes(content.replace(b"CREATE TABLE data", b"CREATE \xff\xfeBLE data"))
    with pytest.raises(FormatError, match="truncated or damaged"):
        QH9Reader(database)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Z", np.array([8, 1, 1], np.int64).tobytes(), r"Z must hold 12 bytes, int32 of shape \(3,\), found 24"),
        ("Z", np.array([16, 1, 1], np.int32).tobytes(), r"atomic number\(s\) \[16\]"),
        ("N", 4, "Z must hold 16 bytes"),
        ("N", 0, "N must be the number of atoms"),
        ("pos", np.zeros((3, 3), np.float32).tobytes(), "pos must hold 72 bytes"),
        ("pos", np.full((3, 3), np.nan).tobytes(), "not finite"),
        ("pos", np.diag([1e200, 1.0, 2.0]).tobytes(), "more than 1e\\+06 from the origin"),
        ("Ham", np.diag(np.full(24, 1e308)).tobytes(), "not finite"),
        ("pos", np.zeros((3, 3)).tobytes(), r"molecule 0 of 3 atoms: .*0\.000 Angstrom apart"),
        ("Ham", np.zeros((23, 23)).tobytes(), "Ham must hold 4608 bytes"),
        ("Ham", np.full((24, 24), np.inf).tobytes(), "not finite"),
        ("Ham", np.triu(np.ones((24, 24))).tobytes(), "differs from its transpose"),
        ("Ham", None, "must be a blob"),
    ],
)
def test_damaged_rows(database, column, value, message):
    damage(database, f"UPDATE data SET {column} = ? WHERE id = 0", value)
    with QH9Reader(database) as reader:
        with pytest.raises(FormatError, match=message):
            reader["000000"]
        assert len(reader["000001"].structure) == 2


def test_names_that_are_not_there(database):
    with QH9Reader(database) as reader:
        for name in ("000004", "1", "-00001", "water"):
            with pytest.raises(KeyError, match="000000 to 000003"):
                reader[name]


def test_the_reader_streams(database, monkeypatch):
    """Opening reads no matrix, and one molecule reads one row."""
    decoded = []
    original = QH9Reader.record
    monkeypatch.setattr(QH9Reader, "record", lambda self, row: decoded.append(row) or original(self, row))
    with QH9Reader(database, split="stable-id") as reader:
        assert [reader.split(name) for name in reader.names].count("train") == 3
        assert decoded == []
        reader["000002"]
        assert decoded == [2]


# -- what cannot be written -------------------------------------------------------------------------------


def test_what_the_format_cannot_hold(tmp_path):
    good = random_sample("H2O")
    other = replace(good, info={"charge": 1})
    periodic = replace(good, structure=Structure(good.structure.numbers, good.structure.positions, 9 * np.eye(3), [True] * 3))
    sulfur = Structure([16], np.zeros((1, 3)), np.zeros((3, 3)), [False] * 3)
    path = tmp_path / "out.db"
    for sample, message in ((other, "charge 1"), (periodic, "periodic"), (replace(good, structure=sulfur), r"element\(s\) \[16\]")):
        with pytest.raises(ValueError, match=message), QH9Writer(path) as writer:
            writer.add(0, sample)
        assert not path.exists()
    with QH9Writer(tmp_path / "twice.db") as writer:
        writer.add(0, good)
        with pytest.raises(ValueError, match="id 0 is taken"):
            writer.add(0, good)
    with pytest.raises(ValueError, match="stable or dynamic"):
        QH9Writer(path, "static")
    assert [file.name for file in tmp_path.iterdir()] == ["twice.db"]


def test_functional_by_file_name(tmp_path):
    """QH9Dynamic_100k was made by a PySCF whose b3lyp is another one."""
    for name, xc in (("QH9Dynamic_100k.db", "b3lypg"), ("QH9Dynamic_300k.db", "b3lyp5")):
        with QH9Writer(tmp_path / name, "dynamic") as writer:
            writer.add(0, random_sample("HF"))
        with QH9Reader(tmp_path / name) as reader:
            assert reader["000000"].basis.xc == reader["000000"].info["xc"] == xc
    assert basis_to_json(def2_svp_basis())["atoms"].keys() == {"1", "6", "7", "8", "9"}
