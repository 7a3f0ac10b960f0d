"""The rows of QH9's files by number: SQLite, or the LMDB folder that QH9's own code makes of it.

LMDB: key = 4 bytes, big-endian (stable: id, dynamic: row), value = a pickled dict of numbers and bytes. It is never unpickled:
the opcodes that build such a dict are interpreted here, every other one is refused, so that nothing in a file can be called.
"""

import pickletools
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..damage import DAMAGE
from .lmdb_pages import LmdbPages
from .sample import FormatError

COLUMNS = {
    "stable": ("id", "N", "Z", "pos", "Ham"),
    "dynamic": ("id", "geo_id", "N", "Z", "pos", "ekin", "epot", "etot", "time", "Ham", "converged"),
}
LMDB_KEYS = {"num_nodes": "N", "atoms": "Z"}  # what the LMDB form calls these columns


class SqliteRows:
    """rows[k] -> {column: value} of a SQLite database; form: stable or dynamic, as its columns say."""

    def __init__(self, path: Path):
        self.path = path
        self._connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, check_same_thread=False)
        try:
            self.form = self._find_form()
            # This does not read the matrices: they lie on pages of their own.
            self._numbers = np.array(self._query("SELECT rowid FROM data ORDER BY rowid"), dtype=np.int64).ravel()
        except BaseException:
            self.close()
            raise
        if not len(self._numbers):
            self.close()
            raise FormatError(f"{path}: the table 'data' holds no molecule")

    def _find_form(self) -> str:
        tables = sorted(name for (name,) in self._query("SELECT name FROM sqlite_master WHERE type = 'table'"))
        if "data" not in tables:
            raise FormatError(f"{self.path}: expected a table 'data', as in QH9's databases, found {tables or 'no table'}")
        columns = tuple(row[1] for row in self._query("PRAGMA table_info(data)"))
        form = next((form for form, expected in COLUMNS.items() if columns == expected), None)
        if form is None:
            raise FormatError(f"{self.path}: expected the columns {COLUMNS['stable']} or {COLUMNS['dynamic']}, found {columns}")
        return form

    def _query(self, command: str, values=()) -> list[tuple]:
        try:
            return self._connection.execute(command, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # damaged names come back in SQLite's own messages
            raise FormatError(f"{self.path} is not a readable SQLite database (truncated or damaged): {error}") from error

    def sizes(self) -> np.ndarray:
        """(rows,) atoms of each molecule."""
        return np.array(self._query("SELECT N FROM data ORDER BY rowid")).ravel()

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, row: int) -> dict:
        columns = COLUMNS[self.form]
        found = self._query(f"SELECT {', '.join(columns)} FROM data WHERE rowid = ?", (int(self._numbers[row]),))
        if not found:
            raise FormatError(f"{self.path}: row {row} has vanished since the file was opened")
        return dict(zip(columns, found[0], strict=True))

    def close(self):
        """Close the file."""
        self._connection.close()


class LmdbRows:
    """rows[k] -> {column: value} of an LMDB folder; form: stable or dynamic, as its first row says."""

    def __init__(self, path: Path):
        self.path = path
        self._pages = LmdbPages(path / "data.mdb")
        try:
            if not len(self._pages):
                raise FormatError(f"{path} holds no molecule")
            self.form = "dynamic" if "geo_id" in self[0] else "stable"
        except BaseException:
            self.close()
            raise

    def sizes(self) -> np.ndarray:
        """(rows,) atoms of each molecule; reads the whole file."""
        return np.array([self[row]["N"] for row in range(len(self))])

    def __len__(self) -> int:
        return len(self._pages)

    def __getitem__(self, row: int) -> dict:
        value = read_plain_pickle(f"{self.path}: row {row}", self._pages[row])
        found = {LMDB_KEYS.get(key, key): content for key, content in value.items()}
        missing = {"id", "N", "Z", "pos", "Ham"} - found.keys()
        if missing:
            raise FormatError(f"{self.path}: row {row} lacks {sorted(missing)}; it holds {sorted(found)}")
        return found

    def close(self):
        """Close the files."""
        self._pages.close()


def open_rows(path: Path) -> SqliteRows | LmdbRows:
    """The rows of a SQLite file or of an LMDB folder. FileNotFoundError, FormatError."""
    if path.is_dir():
        if not (path / "data.mdb").is_file():
            raise FormatError(f"{path}: expected a SQLite file, or an LMDB folder with data.mdb, found {_listing(path)}")
        return LmdbRows(path)
    if not path.is_file():
        raise FileNotFoundError(f"no QH9 database at {path}")
    return SqliteRows(path)


def _listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())[:8]


PUSHES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE"} | {
    "SHORT_BINBYTES",
    "BINBYTES",
    "BINBYTES8",
}
SILENT = {"PROTO", "FRAME"}


def read_plain_pickle(place: str, data: bytes) -> dict:
    """The flat dict of texts, numbers and bytes in a pickle (protocol 3 or newer), interpreted here instead of unpickled.

    FormatError for any opcode that such a dict does not need, which includes all that import or call something.
    """
    stack: list = []
    memo: dict[Any, object] = {}
    mark = object()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name in PUSHES:
                stack.append(argument)
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "MARK":
                stack.append(mark)
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "SETITEMS":
                start = len(stack) - 1 - stack[::-1].index(mark)
                stack[start - 1].update(zip(stack[start + 1 :: 2], stack[start + 2 :: 2], strict=True))
                del stack[start:]
            elif name == "STOP":
                (result,) = stack
                if not isinstance(result, dict) or any(isinstance(value, dict) for value in result.values()):
                    raise ValueError("the value is no flat dictionary")
                return result
            elif name not in SILENT:
                raise ValueError(f"it contains {name}, which a dictionary of numbers and bytes does not need")
    except DAMAGE as error:
        raise FormatError(
            f"{place}: expected a pickled dictionary of numbers and bytes as QH9's code writes it; it was not loaded: {error}"
        ) from error
    raise FormatError(f"{place}: the pickled dictionary has no end")
