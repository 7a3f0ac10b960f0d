"""Many structures from one format to another: exact, resumable, one broken folder does not spoil the rest."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ase_tracegrad.io import FormatError, read
from ase_tracegrad.io import convert as module
from ase_tracegrad.io.convert import convert, put_on_common_pairs
from ase_tracegrad.io.deeph import write_deeph, write_deeph_legacy
from ase_tracegrad.io.folders import FolderReader, open_samples
from ase_tracegrad.io.store import StoreReader
from tests.io.samples import identity_overlap, make_sample

NUMBERS = {"a": (6, 6, 1), "deep/b": (1,), "deep/er/c": (6, 1, 1)}  # atoms of an element stand together, as POSCAR puts them


def make_samples(spin: str) -> dict:
    samples = {name: make_sample(numbers, spin, seed) for seed, (name, numbers) in enumerate(NUMBERS.items())}
    return {name: put_on_common_pairs(sample) for name, sample in samples.items()}


@pytest.fixture
def legacy(tmp_path):
    """Three structures in nested folders of the legacy format."""
    for name, sample in make_samples("none").items():
        write_deeph_legacy(tmp_path / "legacy" / name, sample)
    return tmp_path / "legacy"


def assert_equal(found, sample):
    for key in ("numbers", "positions", "cell"):
        assert np.array_equal(getattr(found.structure, key), getattr(sample.structure, key))
    assert {key: found.info[key] for key in ("fermi_level", "n_electrons")} == sample.info
    for key in ("hamiltonian", "overlap"):
        ours, theirs = getattr(found, key), getattr(sample, key)
        assert ours.spin == theirs.spin
        assert ours.index.keys() == theirs.index.keys()
        assert all(np.array_equal(block, theirs.block(*pair)) for pair, block in ours.items())


@pytest.mark.parametrize("spin", ["none", "spinor"])
def test_all_formats_one_after_the_other_are_exact(tmp_path, spin):
    samples = make_samples(spin)
    for name, sample in samples.items():
        write_deeph_legacy(tmp_path / "1" / name, sample)
    chain = [("1", "2.tgh", "packed"), ("2.tgh", "3", "deeph"), ("3", "4.h5", "packed"), ("4.h5", "5", "deeph-legacy")]
    for source, out, form in chain:
        done = convert(tmp_path / source, tmp_path / out, form)
        assert (len(done.written), done.finished, done.broken) == (3, [], {})
    for name, sample in samples.items():
        packed = name.replace("/", "__")
        with open_samples(tmp_path / "2.tgh") as store:
            assert_equal(store[packed], sample)
        assert_equal(read(tmp_path / "3" / packed), sample)
        assert_equal(read(tmp_path / "5" / packed), sample)
    assert not list(tmp_path.glob("*.part*"))


def test_compact_files_are_rounded_and_smaller(tmp_path, legacy):
    convert(legacy, tmp_path / "exact.h5", "packed")
    convert(legacy, tmp_path / "compact.h5", "packed", exact=False)
    exact, compact = (StoreReader(tmp_path / name)["a"].hamiltonian for name in ("exact.h5", "compact.h5"))
    assert 0 < np.abs((exact - compact).values).max() < 2.0**-28
    assert (tmp_path / "compact.h5").stat().st_size < 0.8 * (tmp_path / "exact.h5").stat().st_size


@pytest.mark.parametrize(("out", "form"), [("new", "deeph"), ("all.h5", "packed")])
def test_an_interrupted_run_goes_on(tmp_path, legacy, monkeypatch, out, form):
    seen = []

    def stop(sample):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(sample)
        return sample

    with pytest.raises(KeyboardInterrupt):
        convert(legacy, tmp_path / out, form, prepare=stop)
    assert not (tmp_path / out).is_file()
    (tmp_path / "new" / "deep" / "er" / "c.part").mkdir(parents=True)  # what kill -9 leaves
    (tmp_path / "new" / "deep" / "er" / "c.part" / "hamiltonian.h5").touch()
    done = convert(legacy, tmp_path / out, form)
    assert (done.finished, done.written) == (["a", "deep/b"], ["deep/er/c"])
    with open_samples(tmp_path / out) as samples:
        assert len(samples) == 3
        assert_equal(samples[samples.names[-1]], make_samples("none")["deep/er/c"])


def test_splits_for_training(tmp_path, legacy):
    """Drawn, or listed, where a structure in no split is left out; the same command with others does not go on."""
    convert(legacy, tmp_path / "drawn.h5", "packed", splits="0.4,0.3,0.3")
    with StoreReader(tmp_path / "drawn.h5") as store:
        assert sorted(map(store.split, store.names)) == ["test", "train", "validation"]
    listed = tmp_path / "splits.json"
    listed.write_text(json.dumps({"train": ["deep/b"], "validation": ["a"]}))
    done = convert(tmp_path / "legacy", tmp_path / "listed.h5", "packed", splits=str(listed))
    assert done.written == ["a", "deep/b"]
    with StoreReader(tmp_path / "listed.h5") as store:
        assert {name: store.split(name) for name in store.names} == {"a": "validation", "deep__b": "train"}
        before = store["a"].info
    convert(tmp_path / "listed.h5", tmp_path / "again.h5", "packed")
    with StoreReader(tmp_path / "again.h5") as store:
        assert store["a"].info == before
    with pytest.raises(ValueError, match="the format deeph has no place for them"):
        convert(legacy, tmp_path / "new", "deeph", splits="0.4,0.3,0.3")


def test_only_one_structure_is_in_memory(tmp_path, legacy, monkeypatch):
    """Each sample is written before the next is read."""
    events = []
    read_one = FolderReader.__getitem__
    monkeypatch.setattr(FolderReader, "__getitem__", lambda self, name: events.append(f"read {name}") or read_one(self, name))
    write = module.FOLDER_WRITERS["deeph"]
    monkeypatch.setitem(module.FOLDER_WRITERS, "deeph", lambda place, sample: events.append("write") or write(place, sample))
    convert(legacy, tmp_path / "new", "deeph")
    assert events == ["read a", "write", "read deep/b", "write", "read deep/er/c", "write"]


@pytest.mark.parametrize(("out", "form"), [("new", "deeph"), ("all.h5", "packed")])
def test_a_broken_structure_is_named_and_can_be_left_out(tmp_path, legacy, out, form):
    (legacy / "deep" / "b" / "info.json").write_text("{")
    with pytest.raises(FormatError, match=r"1 of 3 structures cannot be converted, first deep/b: .*info\.json is not readable"):
        convert(legacy, tmp_path / out, form)
    assert not (tmp_path / out).is_file()
    done = convert(legacy, tmp_path / out, form, skip_broken=True)
    assert (done.written, done.finished, list(done.broken)) == ([], ["a", "deep/er/c"], ["deep/b"])
    with open_samples(tmp_path / out) as samples:
        assert len(samples) == 2


def test_a_single_structure_keeps_its_place(tmp_path, legacy):
    convert(legacy / "a", tmp_path / "new", "deeph")
    convert(legacy / "a", tmp_path / "one.h5", "packed")
    assert_equal(read(tmp_path / "new"), make_samples("none")["a"])
    with StoreReader(tmp_path / "one.h5") as store:
        assert store.names == ["a"]


def test_places_that_would_be_mistakes(tmp_path, legacy):
    write_deeph(tmp_path / "legacy" / "deep__b", make_sample())
    for out, form, message in [
        ("x", "xyz", "unknown format 'xyz'; expected one of packed, deeph, deeph-legacy"),
        ("legacy/new", "deeph", "would convert its own output"),
        ("x.h5", "packed", "deep/b and deep__b would both be called deep__b"),
    ]:
        with pytest.raises(ValueError, match=message):
            convert(legacy, tmp_path / out, form)
    (tmp_path / "file").touch()
    for form, message in (("packed", "is there already"), ("deeph", "needs a folder")):
        with pytest.raises(ValueError, match=message):
            convert(legacy, tmp_path / "file", form)
    with pytest.raises(FileNotFoundError, match="nothing"):
        convert(tmp_path / "nothing", tmp_path / "x", "deeph")


def test_a_run_begun_with_other_options_is_not_continued(tmp_path, legacy):
    (legacy / "a" / "info.json").write_text("{")
    with pytest.raises(FormatError):
        convert(legacy, tmp_path / "a.h5", "packed")
    with pytest.raises(ValueError, match=r"a\.h5\.parts was begun with other options"):
        convert(legacy, tmp_path / "a.h5", "packed", exact=False)


@pytest.mark.parametrize("spin", ["none", "spinor"])
def test_common_pairs(spin):
    sample = make_sample(spin=spin)
    bare = replace(sample, overlap=identity_overlap(sample.overlap.layout))
    both = put_on_common_pairs(bare)
    assert list(both.overlap.index) == list(both.hamiltonian.index)
    assert both.hamiltonian is bare.hamiltonian
    assert (both.overlap.spin, both.overlap.values.dtype) == ("none", np.float64)
    k = [[0.1, 0.2, 0.3]]
    assert np.array_equal(both.overlap.bloch(k), bare.overlap.bloch(k))


def test_mote2_becomes_the_other_folder(tmp_path, shared_data):
    """The same OpenMX calculation lies in both formats; ours of one is the other to 1e-12."""
    for source, form, other in (("deeph_legacy", "deeph", "deeph_new"), ("deeph_new", "deeph-legacy", "deeph_legacy")):
        convert(shared_data / "reference" / source / "MoTe2", tmp_path / form, form)
        ours, theirs = read(tmp_path / form), read(shared_data / "reference" / other / "MoTe2")
        assert np.abs(ours.structure.positions - theirs.structure.positions).max() < 1e-9
        for key in ("hamiltonian", "overlap"):
            a, b = getattr(ours, key), getattr(theirs, key)
            assert a.index.keys() == b.index.keys()
            assert np.abs((a - b).values).max() <= 1e-12


def test_openmx_data_with_spin_orbit_coupling_come_back_as_they_were(tmp_path, shared_data):
    """Legacy, packed, new, packed, legacy: every number of OpenMX's blocks is the same at the end."""
    folder = shared_data / "openmx" / "BB" / "prim"
    chain = [folder, *(tmp_path / name for name in ("a.h5", "b", "c.h5", "d"))]
    for source, out, form in zip(chain, chain[1:], ("packed", "deeph", "packed", "deeph-legacy"), strict=False):
        convert(source, out, form)
    last = tmp_path / "d" / "prim"  # a packed file keeps the name of the folder
    for name in ("hamiltonians.h5", "overlaps.h5"):
        with h5py.File(folder / name) as first, h5py.File(last / name) as again:
            assert first.keys() == again.keys()
            assert all(np.array_equal(first[key][()], again[key][()]) for key in first)
