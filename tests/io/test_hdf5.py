"""Data sets that announce more than they hold, or hold something else than numbers."""

import h5py
import numpy as np
import pytest

from ase_tracegrad.io.hdf5 import open_hdf5, read_array
from ase_tracegrad.io.sample import FormatError


def test_a_bomb_is_refused_and_zeros_are_not(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("bomb", shape=(10**13,), dtype=float, chunks=(1024,), compression="gzip")
        file.create_dataset("zeros", data=np.zeros((10**6, 3)), compression="gzip", shuffle=True)
        file["nothing"] = np.zeros((0, 2))
    assert path.stat().st_size < 10**6
    with open_hdf5(path) as file:
        with pytest.raises(FormatError, match=r"x\.h5: bomb announces 80000000000000 bytes, shape .*, but only 0 are stored"):
            read_array(file, "bomb")
        assert read_array(file, "zeros").shape == (10**6, 3)
        assert read_array(file, "nothing").shape == (0, 2)


@pytest.mark.parametrize(
    ("content", "message"), [("text", "must hold numbers"), (h5py.Empty("f8"), "must hold numbers"), ([b"a"], "must hold numbers")]
)
def test_what_is_no_array_of_numbers(tmp_path, content, message):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = content
        file.create_group("b")
    with open_hdf5(tmp_path / "x.h5") as file:
        with pytest.raises(FormatError, match=message):
            read_array(file, "a")
        with pytest.raises(FormatError, match="b must be a dataset, found a group"):
            read_array(file, "b")


def test_numbers_in_other_files_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(80))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", shape=(10,), dtype=float, external=[(str(tmp_path / "secret"), 0, 80)])
    with open_hdf5(tmp_path / "x.h5") as file, pytest.raises(FormatError, match="lies in other files"):
        read_array(file, "a")
