"""HDF5 files of others: opened with a clear error, their arrays read only where they hold what they announce."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from .sample import FormatError

# What h5py raises for damage that shows behind the header of a file, beside the OSError at its opening.
HDF5_DAMAGE = (OSError, KeyError, RuntimeError, TypeError, UnicodeDecodeError)
LARGEST_RATIO = 1100  # deflate packs no more than 1032 bytes into one
ALWAYS_ALLOWED = 2**20  # bytes, for data sets of which nothing is stored because all is zero


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The open file; FormatError if it is missing or damaged, also where that shows later inside the ``with``."""
    if not path.is_file():
        raise FormatError(f"{path} is missing; the folder holds {sorted(p.name for p in path.parent.glob('*'))}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except HDF5_DAMAGE as error:
        raise FormatError(f"{path} is not a readable HDF5 file (truncated or damaged): {error}") from error


def read_array(group: h5py.Group, name: str, kinds: str = "iufcb") -> np.ndarray:
    """The numbers of a data set; kinds: allowed ones, as numpy's dtype.kind.

    KeyError if it is missing. FormatError for something else than numbers, and for more of them than the bytes stored can hold:
    a small file may announce terabytes.
    """
    where, item = f"{group.file.filename}: {name}", group[name]
    if not isinstance(item, h5py.Dataset):
        raise FormatError(f"{where} must be a dataset, found a group")
    if item.shape is None or item.dtype.kind not in kinds:
        raise FormatError(f"{where} must hold numbers ({kinds}), found {item.dtype}")
    if item.is_virtual or item.external:
        raise FormatError(f"{where} lies in other files; expected it in this one")
    stored = item.id.get_storage_size()
    if item.nbytes > max(ALWAYS_ALLOWED, LARGEST_RATIO * stored):
        raise FormatError(f"{where} announces {item.nbytes} bytes, shape {item.shape}, but only {stored} are stored for it")
    return np.asarray(item[()])
