"""Structures from whatever users have, one at a time: files, globs, folders of ase.db, extxyz streams, Atoms."""

import glob
import io
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
from ase import Atoms

EXTXYZ = (".extxyz", ".xyz")
DATABASES = (".db",)
STDIN = "-"
USUALLY_ONE = ("cif",)  # formats of several structures that most files hold one of


@dataclass(frozen=True)
class Entry:
    """One structure to screen: source says where it is from; atoms, or the reason why there are none; info: facts of the user."""

    source: str
    atoms: Atoms | None
    error: str = ""
    info: dict[str, Any] = field(default_factory=dict)


def iterate_structures(structures) -> Iterator[Entry]:
    """All that ``structures`` means, read when it is its turn.

    A file name ('file@3' and 'file@:10' as in ASE), a glob, '-' (extxyz from standard input), Atoms, or an iterable of
    such. A file that cannot be read gives an Entry with the reason. Raises FileNotFoundError, ValueError for a folder.
    """
    counted = 0
    for item in [structures] if isinstance(structures, (str, Path, Atoms)) else structures:
        if isinstance(item, Atoms):
            yield Entry(str(item.info.get("name", f"structure {counted}")), item, info=_scalars(item.info))
            counted += 1
        else:
            for name in expand(str(item)):
                yield from _read(name)


def expand(name: str) -> list[str]:
    """The files of a glob in alphabetical order, other names as they are; FileNotFoundError if there is nothing."""
    if name == STDIN or Path(_split(name)[0]).is_file():
        return [name]
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise FileNotFoundError(f"no structure file {name}")
    if folders := [path for path in found if Path(path).is_dir()]:
        raise ValueError(f"{folders[0]} is a folder: name its files, as in '{folders[0].rstrip('/')}/*.cif'")
    return found


def check_names(structures):
    """FileNotFoundError or ValueError at once for a name that means nothing, and not when it is its turn."""
    for item in (
        [structures] if isinstance(structures, (str, Path)) else structures if isinstance(structures, (list, tuple)) else []
    ):
        if isinstance(item, (str, Path)):
            expand(str(item))


def count_structures(structures) -> int | None:
    """How many there will be, if that is cheap to know."""
    if isinstance(structures, (str, Path, Atoms)):
        structures = [structures]
    if not isinstance(structures, (list, tuple)):
        return len(structures) if hasattr(structures, "__len__") else None
    total = 0
    for item in structures:
        counts = [1] if isinstance(item, Atoms) else [_count(name) for name in expand(str(item))]
        if None in counts:
            return None
        total += sum(count for count in counts if count is not None)
    return total


def _split(name: str) -> tuple[str, str | None]:
    if "@" in name and not Path(name).exists():
        file, _, index = name.rpartition("@")
        return file, index
    return name, None


def _read(name: str) -> Iterator[Entry]:
    file, index = _split(name)
    number = 0
    try:
        for entry in _read_all(name, file, index):
            number += 1
            yield entry
    except Exception as error:
        # ASE's readers raise whatever their parsers meet.
        yield Entry(f"{name} after {number}" if number else name, None, f"cannot be read: {type(error).__name__}: {error}")
        return
    if not number and index is None and name != STDIN:
        yield Entry(name, None, "cannot be read: it holds no structure")  # what ASE says of some broken files


def _read_all(name: str, file: str, index: str | None) -> Iterator[Entry]:
    if name == STDIN:
        yield from _read_extxyz(sys.stdin, "stdin")
    elif index is None and Path(file).suffix in EXTXYZ:
        with open(file) as stream:
            yield from _read_extxyz(stream, file)
    elif Path(file).suffix in DATABASES:
        yield from _read_database(file, index)
    else:
        from ase.io import iread

        for number, atoms in enumerate(iread(name)):
            yield Entry(_name_frame(file, index, number), atoms, info=_scalars(atoms.info))


def _name_frame(file: str, index: str | None, number: int) -> str:
    """'file', or 'file@n' by which ASE finds this frame again; number: how many frames of ``index`` came before."""
    from ase.io.formats import filetype, ioformats, string2index

    if index is None:
        return file if ioformats[filetype(file)].single else f"{file}@{number}"
    chosen = string2index(index)
    if not isinstance(chosen, slice):
        return f"{file}@{index}"
    start, step = chosen.start or 0, chosen.step or 1
    return f"{file}@{start + step * number}" if start >= 0 and step > 0 else f"{file}@{index} number {number}"


def _read_extxyz(stream: TextIO, file: str) -> Iterator[Entry]:
    """Frame after frame; ASE's own reader first looks for the ends of all frames."""
    from ase.io import read

    for number, text in enumerate(_frames(stream)):
        source = f"{file}@{number}"
        try:
            atoms = cast(Atoms, read(io.StringIO(text), format="extxyz"))
            yield Entry(source, atoms, info=_scalars(atoms.info))
        except Exception as error:
            yield Entry(source, None, f"cannot be read: {type(error).__name__}: {error}")


def _frames(stream: TextIO) -> Iterator[str]:
    while line := stream.readline():
        if not line.strip():
            continue
        lines = [line, *islice(stream, max(int(line), 0) + 1)]
        if len(lines) < int(line) + 2:
            raise ValueError(f"the file ends inside a frame of {int(line)} atoms")
        yield "".join(lines)


def _read_database(file: str, query: str | None) -> Iterator[Entry]:
    with _open_database(file) as database:
        for row in database.select(query):
            atoms = row.toatoms()
            yield Entry(f"{file}@id={row.id}", atoms, info=_scalars(row.key_value_pairs))


def _open_database(file: str):
    from ase.db import connect

    check_database(file)
    return connect(file, append=True)


def check_database(file):
    """ValueError unless ASE wrote this .db: into any other, a data set of QH9 too, it would write its tables when it reads."""
    with closing(sqlite3.connect(f"{Path(file).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        if not connection.execute("select 1 from sqlite_master where name = 'systems'").fetchone():
            raise ValueError("it is no database of ASE: there is no table 'systems' in it")


def _count(name: str) -> int | None:
    file, index = _split(name)
    if index is not None:
        return 1 if index.lstrip("-").isdigit() else None
    if name == STDIN:
        return None
    try:
        return _count_all(file)
    except Exception:
        # ASE's readers raise whatever their parsers meet; when it is the file's turn, it is one row with the reason.
        return None


def _count_all(file: str) -> int | None:
    if Path(file).suffix in DATABASES:
        with _open_database(file) as database:
            return database.count()
    if Path(file).suffix in EXTXYZ:
        with open(file) as stream:
            return sum(1 for _ in _frames(stream))
    from ase.io import Trajectory
    from ase.io.formats import filetype, ioformats

    if Path(file).suffix == ".traj":
        with Trajectory(file) as trajectory:
            return len(trajectory)
    form = filetype(file)
    return 1 if ioformats[form].single or form in USUALLY_ONE else None


def _scalars(info: dict) -> dict[str, Any]:
    """What of a user's facts can be stored and searched: texts, numbers, truth values."""
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in info.items()}
    return {str(key): value for key, value in plain.items() if isinstance(value, (str, int, float, bool))}


def encode_info(info: dict[str, Any]) -> str:
    """As JSON; numbers that JSON does not know (nan) are left out."""
    return json.dumps({key: value for key, value in info.items() if not isinstance(value, float) or np.isfinite(value)})
