"""The results of a screening on disk: one Parquet file for each chunk of structures, there complete or not at all.

A folder holds settings.json, and shards/NNNNNN-HASH.parquet with one row per structure. Files are written under another
name, flushed to the disk and renamed, so whatever a run leaves behind when it is killed can be read and continued.
"""

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..damage import DAMAGE
from ..replace_file import replace_text
from .settings import ScreenSettings

if TYPE_CHECKING:
    import pyarrow

SETTINGS, SHARDS = "settings.json", "shards"
FORMAT = "ase_tracegrad-screen 1"
# name: type in Arrow's words, [..] for lists. Of every row; energies in eV, lengths in Angstrom, errors of H in meV.
COLUMNS = {
    "id": "string",
    "source": "string",
    "status": "string",
    "error": "string",
    "formula": "string",
    "n_atoms": "int32",
    "numbers": "[int16]",
    "positions": "[double]",
    "cell": "[double]",
    "pbc": "[bool]",
    "info": "string",
    "out_of_domain": "bool",
    "reasons": "[string]",
    "warnings": "[string]",
    "feature_distance": "double",
    "h_uncertainty": "double",
    "gap_uncertainty": "double",
    "n_electrons": "double",
    "n_orbitals": "int32",
    "seconds": "double",
}
PROPERTY_COLUMNS = {
    "gap": {
        "fermi_level": "double",
        "kind": "string",
        "gap": "double",
        "overlap": "double",
        "direct": "bool",
        "direct_gap": "double",
        "vbm": "double",
        "cbm": "double",
        "k_vbm": "[double]",
        "k_cbm": "[double]",
        "k_direct": "[double]",
    },
    "bands": {"bands_path": "string", "bands_kpts": "[[double]]", "bands": "[[float]]"},
    "dos": {"dos": "[float]"},
    "symmetry": {
        "space_group": "string",
        "n_operations": "int32",
        "symmetry_error": "double",
        "time_reversal_error": "double",
    },
}


class ScreenError(ValueError):
    """A screening that cannot start or go on; the message says why and what to do."""


def import_pyarrow():
    """pyarrow with its Parquet module, or an error that says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ScreenError("screening needs the package pyarrow: pip install 'ase_tracegrad[screen]'") from None
    return pyarrow


def columns_of(properties: Sequence[str]) -> dict[str, str]:
    """{name: type} of the rows of a screening for these properties."""
    return COLUMNS | {name: kind for wanted in properties for name, kind in PROPERTY_COLUMNS[wanted].items()}


def write_shard(folder, number: int, rows: list[dict[str, Any]], properties: Sequence[str]) -> Path:
    """Write rows as one file; its name follows from their ids, so that a chunk computed twice is one file."""
    arrow = import_pyarrow()
    schema = arrow.schema([(name, _arrow_type(arrow, kind)) for name, kind in columns_of(properties).items()])
    unknown = {name for row in rows for name in row} - set(schema.names)
    if unknown:
        raise ValueError(f"rows hold columns that are none of a screening: {', '.join(sorted(unknown))}")
    table = arrow.Table.from_pylist(rows, schema=schema)
    path = Path(folder) / SHARDS / f"{number:06d}-{rows[0]['id'][:12]}-{len(rows)}.parquet"
    part = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "wb") as file:
            arrow.parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def list_shards(folder) -> list[Path]:
    """The files of a screening, oldest first."""
    return sorted((Path(folder) / SHARDS).glob("*.parquet"))


def read_shard(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of one file. Raises ScreenError if it is damaged."""
    arrow = import_pyarrow()
    try:
        return arrow.parquet.read_table(path, columns=None if columns is None else list(columns), partitioning=None).to_pylist()
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise ScreenError(
            f"{path} is damaged ({error}): delete it and run the screening again, which computes what was in it"
        ) from error


def iterate_rows(folder, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """One row for each structure of a screening, the last one where it was tried again; one shard is in memory.

    columns: names of COLUMNS and PROPERTY_COLUMNS, None for all. Raises ScreenError.
    """
    read_settings(folder)
    shards = list_shards(folder)
    # The empty name: a private file that SQLite deletes by itself.
    with closing(sqlite3.connect("", isolation_level=None)) as last:
        last.execute("create table last (id text primary key, shard integer) without rowid")
        last.execute("begin")
        for number, path in enumerate(shards):
            ids = read_shard(path, ["id"])
            last.executemany("insert or replace into last values (?, ?)", ((row["id"], number) for row in ids))
        last.execute("commit")
        for number, path in enumerate(shards):
            ids = read_shard(path, ["id"])
            for known, row in zip(ids, read_shard(path, columns), strict=True):
                if last.execute("select shard from last where id = ?", (known["id"],)).fetchone()[0] == number:
                    yield row


def read_settings(folder) -> dict[str, Any]:
    """What settings.json says of a screening; ScreenError if the folder holds none."""
    path = Path(folder) / SETTINGS
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise ScreenError(f"{folder} holds no screening: there is no {SETTINGS} in it") from None
    except DAMAGE as error:
        raise ScreenError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ScreenError(f"{path} is not that of a screening: expected format {FORMAT!r}")
    identity = found.get("identity")
    properties = identity.get("properties") if isinstance(identity, dict) else None
    if not isinstance(properties, list) or not all(isinstance(name, str) and name in PROPERTY_COLUMNS for name in properties):
        raise ScreenError(f"{path} is damaged: it does not say which properties were computed")
    return found


def prepare_folder(folder, settings: ScreenSettings):
    """Make the folder, or check that it holds results of the same settings. Raises ScreenError."""
    folder = Path(folder)
    if not (folder / SETTINGS).exists():
        if folder.exists() and any(path.name != f"{SHARDS}.lock" for path in folder.iterdir()):
            raise ScreenError(f"{folder} is not empty and holds no screening: give a new or empty folder")
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        facts = {"format": FORMAT, "identity": settings.identity, "dos_energies": settings.dos_grid.round(10).tolist()}
        replace_text(folder / SETTINGS, json.dumps(facts, indent=1) + "\n")
        return
    before, now = read_settings(folder)["identity"], settings.identity
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        differences = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise ScreenError(f"{folder} holds results of other settings ({differences}): give another folder, or the same settings")
    for part in (folder / SHARDS).glob("*.part"):
        part.unlink()


def _arrow_type(arrow: "pyarrow", kind: str):
    if kind.startswith("["):
        return arrow.list_(_arrow_type(arrow, kind[1:-1]))
    return {"bool": arrow.bool_(), "string": arrow.string(), "double": arrow.float64(), "float": arrow.float32()}.get(
        kind
    ) or getattr(arrow, kind)()
