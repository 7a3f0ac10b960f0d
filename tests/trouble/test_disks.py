"""Full disks and folders that cannot be written to: a clear error, what was there stays, nothing half is left."""

import os

import numpy as np
import pytest

from ase_tracegrad.io.convert import convert
from ase_tracegrad.io.deeph import write_deeph_legacy
from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.lock import lock_output
from ase_tracegrad.replace_file import SPARE, replace_text
from tests.io.samples import make_sample


def fill(disk, free: int):
    """Leave so many bytes."""
    stat = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(stat.f_bavail * stat.f_frsize - free))


def test_a_packed_file_on_a_full_disk(small_disk):
    with StoreWriter(small_disk / "data.h5") as store:
        store.add("a", make_sample())
    fill(small_disk, 300_000)
    with (
        pytest.raises(OSError, match=r"the disk is full: .* MB are to be written, .* MB are free") as caught,
        StoreWriter(small_disk / "data.h5") as store,
    ):
        store.add("b", make_sample())
    assert str(small_disk / "data.h5") in str(caught.value)
    assert sorted(path.name for path in small_disk.iterdir()) == ["data.h5", "filler"]
    with StoreReader(small_disk / "data.h5") as store:
        assert store.names == ["a"]
        assert store["a"].hamiltonian.values.size


def test_a_conversion_goes_on_when_there_is_room_again(small_disk, tmp_path):
    for name in ("a", "b", "c"):
        write_deeph_legacy(tmp_path / "in" / name, make_sample(seed=ord(name)))
    sample = make_sample(seed=ord("a"))
    payload = sample.hamiltonian.values.nbytes + sample.overlap.values.nbytes
    assert payload > 40_000
    fill(small_disk, SPARE + payload + 60_000)  # room for the first, and for folders and heads of files
    with pytest.raises(OSError, match="the disk is full"):
        convert(tmp_path / "in", small_disk / "out.h5", "packed")
    assert not (small_disk / "out.h5").exists()
    assert not list(small_disk.rglob("*.part"))
    (small_disk / "filler").unlink()
    done = convert(tmp_path / "in", small_disk / "out.h5", "packed")
    assert sorted(done.written + done.finished) == ["a", "b", "c"]
    assert done.finished


def test_text_on_a_full_disk(small_disk):
    replace_text(small_disk / "x.json", "old")
    fill(small_disk, 0)
    with pytest.raises(OSError, match="No space left"):
        replace_text(small_disk / "x.json", "new" * 10_000)
    assert (small_disk / "x.json").read_text() == "old"
    assert not (small_disk / "x.json.part").exists()


def test_the_state_of_a_run_on_a_full_disk(small_disk):
    torch = pytest.importorskip("torch")
    from ase_tracegrad.fit.state import read_state, write_state
    from tests.fit.cases import make_training_config

    config = make_training_config("data.h5", small_disk)
    write_state(small_disk, {"epoch": 1}, config, "labels")
    fill(small_disk, 100_000)
    with pytest.raises(OSError, match="No space left"):
        write_state(small_disk, {"epoch": 2, "network": torch.zeros(100_000)}, config, "labels")
    assert read_state(small_disk, config, "labels")["epoch"] == 1


def test_a_read_only_folder(make_read_only, tmp_path):
    folder, protect = make_read_only
    write_deeph_legacy(tmp_path / "in" / "a", make_sample())
    protect()
    for write in (
        lambda: convert(tmp_path / "in", folder / "out.h5", "packed"),
        lambda: replace_text(folder / "x", "y"),
        lambda: lock_output(folder / "x").__enter__(),
        lambda: StoreWriter(folder / "x.h5").__enter__(),
    ):
        with pytest.raises(OSError, match=r"[Rr]ead-only file system") as caught:
            write()
        assert str(folder) in str(caught.value)
    assert np.array_equal(os.listdir(folder), [])
