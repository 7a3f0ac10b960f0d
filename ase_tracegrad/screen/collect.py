"""What people search: an ase.db of the structures that were computed, and a CSV of all rows."""

import csv
import json
import math
import warnings
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ase.db import connect
from ase.db.core import check as check_pairs

from ..replace_file import replace_file
from .chunk import restore_atoms
from .shards import ScreenError, columns_of, iterate_rows, read_settings

# Rows of one transaction: SQLite writes 65 rows a second one by one, 1864 together (measured).
TOGETHER = 500
# Lists go into the data of an ase.db row, and not into the CSV; these are the structure itself.
STRUCTURE = ("numbers", "positions", "cell", "pbc")
NOT_PAIRS = ("id", "source", "formula", "n_atoms", "status", "error", "info")


@dataclass(frozen=True)
class Collected:
    """The files, and how many rows went into each."""

    database: Path
    table: Path
    n_structures: int
    n_rows: int

    def __str__(self) -> str:
        return f"wrote {self.database} ({self.n_structures} structures) and {self.table} ({self.n_rows} rows)"


def collect(folder, database=None) -> Collected:
    """Write an ase.db (by default screen.db in the folder) of all rows without error, and beside it a CSV of all rows.

    Key-value pairs are the numbers and words of a row (gap, fermi_level, ...), its source, and what the input said of
    the structure; bands and densities of states are in ``data``. Written anew each time, complete or not at all.
    """
    folder = Path(folder)
    columns = columns_of(read_settings(folder)["identity"]["properties"])
    database = folder / "screen.db" if database is None else Path(database)
    if database.suffix != ".db":
        raise ScreenError(f"{database}: expected the name of an ase.db, which ends in .db; the CSV is written beside it")
    table = database.with_suffix(".csv")
    flat = [name for name, kind in columns.items() if not kind.startswith("[")]
    n_structures = n_rows = 0
    with replace_file(table) as text, replace_file(database) as part:
        part.unlink(missing_ok=True)
        with open(text, "w", newline="") as stream:
            writer = csv.DictWriter(stream, [*flat, "reasons", "warnings"])
            writer.writeheader()
            target = connect(part, type="db")
            rows = iterate_rows(folder)
            with target:  # makes the tables, also where no structure could be computed
                pass
            while together := list(islice(rows, TOGETHER)):
                n_rows += len(together)
                writer.writerows(_cells(row, flat) for row in together)
                good = [row for row in together if row["status"] == "ok"]
                n_structures += len(good)
                with target:
                    for row in good:
                        pairs, data = _describe(row, columns)
                        target.write(restore_atoms(row), key_value_pairs=pairs, data=data)
    return Collected(database, table, n_structures, n_rows)


def _cells(row: dict[str, Any], flat: list[str]) -> dict[str, Any]:
    lists = {name: "; ".join(row[name] or []) for name in ("reasons", "warnings")}
    return {name: row[name] for name in flat} | lists


def _describe(row: dict[str, Any], columns: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Key-value pairs and data of one row; what ase.db does not take as a pair goes into the data."""
    pairs: dict[str, Any] = {}
    data: dict[str, Any] = {}
    found = {name: row[name] for name in columns if name not in (*NOT_PAIRS, *STRUCTURE) and row[name] is not None}
    for name, value in (json.loads(row["info"]) | found | {"source": row["source"], "screen_id": row["id"]}).items():
        if isinstance(value, list):
            if value:
                data[name] = value
        elif _is_pair(name, value):
            pairs[name] = value
        else:
            data[name] = value
    return pairs, data


def _is_pair(name: str, value) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # about keys that are formulas, which no search would find
            check_pairs({name: value})
    except (ValueError, UserWarning):
        return False
    return True
