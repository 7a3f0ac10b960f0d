"""Structures in folders: which reader a folder needs, and all structures below a folder by name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from .deeph import LEGACY_FILES, NEW_FILES, read_deeph, read_deeph_legacy
from .hsx import read_hsx
from .qh9 import QH9Reader
from .sample import FormatError, Sample
from .store import StoreReader


def find_reader(folder) -> Callable[[Path], Sample] | None:
    """The function that reads this folder as one structure, or None if it holds none."""
    folder = Path(folder)
    if (folder / LEGACY_FILES["hamiltonian"]).exists():
        return read_deeph_legacy
    if (folder / NEW_FILES["hamiltonian"]).exists():
        return read_deeph
    return read_hsx if any(folder.glob("*.HSX")) else None


class FolderReader:
    """Structures below a folder by name, read one at a time: the counterpart of StoreReader.

    names: paths below the folder with '/', sorted; '.' if the folder itself is a structure. Raises FormatError if there
    is none, FileNotFoundError if there is no such folder.
    """

    def __init__(self, folder):
        self.path = Path(folder)
        if not self.path.is_dir():
            raise FileNotFoundError(f"no folder {self.path}")
        self.names = sorted(_find_structures(self.path))
        if not self.names:
            raise FormatError(
                f"{self.path}: expected DeepH folders with {LEGACY_FILES['hamiltonian']} (legacy) or {NEW_FILES['hamiltonian']} "
                f"(new), or SIESTA's with a .HSX file, found {sorted(p.name for p in self.path.iterdir())[:12]}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Sample:
        folder = self.path / name
        reader = find_reader(folder)
        if reader is None:
            raise FormatError(f"{folder} holds no Hamiltonian any more; it did when the folders were listed")
        return reader(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        """Nothing stays open between two structures."""


def open_samples(path) -> FolderReader | StoreReader | QH9Reader:
    """The structures in a folder, a packed file or a QH9 database, by name. FileNotFoundError, FormatError."""
    path = Path(path)
    if path.suffix == ".db" or (path / "data.mdb").exists():
        return QH9Reader(path)
    return FolderReader(path) if path.is_dir() else StoreReader(path)


def _find_structures(top: Path) -> list[str]:
    found = []
    for folder, below, _ in os.walk(top):
        below[:] = [name for name in below if not name.endswith(".part")]
        if find_reader(folder) is not None:
            found.append(Path(folder).relative_to(top).as_posix())
            below.clear()
    return found
