from dataclasses import replace

import h5py
import numpy as np
import pytest

from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, Shell
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.io.sample import FormatError, ReferenceBands, Sample
from ase_tracegrad.io.store import NotHermitianError, StoreReader, StoreWriter
from ase_tracegrad.structure import Structure

CELL = (np.diag([3.0, 4, 9]), [True, True, False])


@pytest.fixture
def sample(make_matrix) -> Sample:
    shells = (
        Shell(0, GaussianRadial(0, np.array([0.5]), np.array([1.0]))),
        Shell(1, GaussianRadial(1, np.array([0.4]), np.array([1.0]))),
    )
    basis = Basis({6: AtomicBasis(6, (0, 1), shells, 4.0), 1: AtomicBasis(1, (0, 0, 2), (), 1.0)}, "toy", "none", "PBE")
    structure = Structure([6, 1], [[0, 0, 0.1], [0.3, 0, 1]], *CELL)
    bands = ReferenceBands(np.zeros((2, 3)), np.arange(6.0).reshape(2, 3), -1.5)
    return Sample(structure, basis, make_matrix(seed=1), make_matrix(seed=2), {"fermi_level": -1.5, "note": "é"}, bands)


def write(path, samples: dict[str, Sample]):
    with StoreWriter(path, {"purpose": "test"}) as store:
        for name, sample in samples.items():
            store.add(name, sample)


@pytest.mark.parametrize("spin", ["none", "spinor"])
def test_round_trip(tmp_path, sample, make_matrix, spin):
    sample = replace(sample, hamiltonian=make_matrix(seed=4, spin=spin))
    write(tmp_path / "a.h5", {"x": sample, "y": replace(sample, bands=None)})
    with StoreReader(tmp_path / "a.h5") as store:
        assert store.names == ["x", "y"]
        assert len(store) == 2
        assert store.info == {"purpose": "test"}
        again = store["x"]
        assert store["y"].bands is None
        assert [s.info["note"] for s in store] == ["é", "é"]
    for key in ("numbers", "positions", "cell", "pbc"):
        assert np.array_equal(getattr(again.structure, key), getattr(sample.structure, key))
    assert again.info == sample.info
    assert again.basis[6].shells[1].radial(1.3) == pytest.approx(sample.basis[6].shells[1].radial(1.3), abs=1e-15)
    assert np.array_equal(again.bands.energies, sample.bands.energies)
    assert again.bands.fermi_level == -1.5
    for key, error in (("hamiltonian", 2.0**-29), ("overlap", 2.0**-35)):
        read, written = getattr(again, key), getattr(sample, key)
        assert read.index.keys() == written.index.keys()
        assert read.spin == written.spin
        assert np.abs((read - written).values).max() <= error * (np.sqrt(2) if read.spin == "spinor" else 1)
        assert read.is_hermitian(0)


def test_a_second_round_trip_is_exact(tmp_path, sample):
    write(tmp_path / "a.h5", {"x": sample})
    with StoreReader(tmp_path / "a.h5") as store:
        once = store["x"]
    write(tmp_path / "b.h5", {"x": once})
    with StoreReader(tmp_path / "b.h5") as store:
        twice = store["x"]
    assert np.array_equal(twice.hamiltonian.values, once.hamiltonian.values)
    assert np.array_equal(twice.overlap.values, once.overlap.values)


@pytest.mark.parametrize("spin", ["none", "spinor"])
def test_exact_files_keep_every_bit_and_the_order(tmp_path, sample, make_matrix, spin):
    matrix = make_matrix(seed=4, spin=spin)
    noisy = replace(matrix, values=matrix.values * (1 + 1e-9 * np.arange(len(matrix.values))))  # adjoint blocks differ a little
    with StoreWriter(tmp_path / "a.h5", exact=True) as store:
        store.add("x", replace(sample, hamiltonian=noisy))
    with StoreReader(tmp_path / "a.h5") as store:
        again = store["x"].hamiltonian
    assert again.spin == spin
    for key in ("values", "pairs", "shifts"):
        assert np.array_equal(getattr(again, key), getattr(noisy, key))


def test_a_later_sample_may_bring_elements(tmp_path, sample, make_matrix):
    carbon = replace(sample, basis=replace(sample.basis, atoms={6: sample.basis[6]}), structure=Structure([6], [[0, 0, 0]], *CELL))
    carbon = replace(carbon, **dict.fromkeys(("hamiltonian", "overlap"), make_matrix([(0, 1)])))
    write(tmp_path / "a.h5", {"carbon": carbon, "both": sample})
    with StoreReader(tmp_path / "a.h5") as store:
        assert sorted(store.basis.atoms) == [1, 6]
        assert np.array_equal(store["carbon"].structure.numbers, [6])
        with StoreWriter(tmp_path / "b.h5") as copy:
            copy.append(store)
    with StoreReader(tmp_path / "b.h5") as copy:
        assert copy.names == ["both", "carbon"]
        assert copy["both"].info == sample.info


def test_the_file_appears_only_when_it_is_complete(tmp_path, sample):
    path = tmp_path / "deep" / "a.h5"

    def write_half():
        with StoreWriter(path) as store:
            store.add("x", sample)
            assert not path.exists()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert list(path.parent.iterdir()) == []


def test_a_second_basis_is_refused(tmp_path, sample):
    other = replace(sample, basis=replace(sample.basis, name="other"))
    with StoreWriter(tmp_path / "a.h5") as store:
        store.add("x", sample)
        with pytest.raises(ValueError, match="one basis"):
            store.add("y", other)


def test_what_is_not_hermitian_is_refused(tmp_path, sample):
    matrix = sample.hamiltonian
    lonely = BlockMatrix(matrix.layout, [[0, 1]], [[1, 0, 0]], np.ones(28))
    with (
        pytest.raises(NotHermitianError, match=r"only Hermitian.*1.0e\+00.*matrix\.symmetrized\(\)"),
        StoreWriter(tmp_path / "a.h5") as store,
    ):
        store.add("x", replace(sample, hamiltonian=lonely))


@pytest.mark.parametrize("name", ["", "2x2/a", "/a"])
def test_names_that_hdf5_would_split_are_refused(tmp_path, sample, name):
    with pytest.raises(ValueError, match="name must be a text without '/'"), StoreWriter(tmp_path / "a.h5") as store:
        store.add(name, sample)


def test_missing_files_and_names(tmp_path, sample):
    with pytest.raises(FileNotFoundError, match="no packed data file"):
        StoreReader(tmp_path / "none.h5")
    write(tmp_path / "a.h5", {"x": sample})
    with StoreReader(tmp_path / "a.h5") as store, pytest.raises(KeyError, match="no sample 'z'; it holds \\['x'\\]"):
        store["z"]


@pytest.mark.parametrize("damage", ["text", "truncated", "foreign", "version"])
def test_files_that_are_not_ours_are_refused(tmp_path, sample, damage):
    path = tmp_path / "a.h5"
    write(path, {"x": sample})
    if damage == "text":
        path.write_text("not HDF5")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    else:
        with h5py.File(path, "r+") as file:
            if damage == "foreign":
                del file.attrs["format"]
            else:
                file.attrs["version"] = 99
    with pytest.raises(FormatError, match=r"a\.h5"):
        StoreReader(path)


@pytest.mark.parametrize(
    "missing",
    ["hamiltonian", "overlap/values", "hamiltonian/pairs", "positions", "bands/kpts", "info", "spin", "basis", "file info"],
)
def test_an_incomplete_sample_is_named(tmp_path, sample, missing):
    path = tmp_path / "a.h5"
    write(path, {"x": sample})
    with h5py.File(path, "r+") as file:
        group = file["samples/x"]
        if missing == "info":
            del group.attrs["info"]
        elif missing == "spin":
            del group["overlap"].attrs["spin"]
        elif missing == "basis":
            del file.attrs["basis"]
        elif missing == "file info":
            del file.attrs["info"]
        else:
            del group[missing]
    with pytest.raises(FormatError, match=r"a\.h5.*(damaged|incomplete)"), StoreReader(path) as store:
        store["x"]


def test_flipped_bits_are_noticed(tmp_path, sample):
    path = tmp_path / "a.h5"
    write(path, {"x": sample})
    with h5py.File(path, "r") as file:
        chunk = file["samples/x/hamiltonian/values"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 0x10
    path.write_bytes(data)
    with StoreReader(path) as store, pytest.raises(FormatError, match="sample 'x' is damaged"):
        store["x"]


@pytest.mark.parametrize(
    ("key", "value"), [("numbers", [6, 7]), ("positions", np.full((2, 3), np.nan)), ("hamiltonian/shifts", np.zeros((3, 3), int))]
)
def test_contradictory_contents_are_refused(tmp_path, sample, key, value):
    path = tmp_path / "a.h5"
    write(path, {"x": sample})
    with h5py.File(path, "r+") as file:
        del file["samples/x"][key]
        file["samples/x"][key] = value
    with StoreReader(path) as store, pytest.raises(FormatError, match="sample 'x' is damaged"):
        store["x"]
