"""A chunk of structures, computed in one worker and written as one shard."""

import hashlib
import os
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ..batching import predict_each
from ..nn.domain import UnsupportedStructureError
from ..structure import Structure
from .analysis import analyse
from .inputs import Entry, encode_info
from .settings import ScreenSettings
from .shards import write_shard
from .uncertainty import Uncertainty, load_uncertainty


@dataclass(frozen=True)
class Task:
    """Entries with their ids, the number of the chunk, and where its shard goes; all a worker needs."""

    folder: str
    number: int
    settings: ScreenSettings
    ids: tuple[str, ...]
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def split(self) -> tuple["Task", "Task"]:
        """Two halves."""
        half = len(self) // 2
        parts = (slice(None, half), slice(half, None))
        first, second = (Task(self.folder, self.number, self.settings, self.ids[part], self.entries[part]) for part in parts)
        return first, second


def identify(entry: Entry, fingerprint: str) -> str:
    """The id of a structure under these settings: numbers, positions, cell and pbc to the last bit.

    A file that could not be read is identified by its name, size and time, so that it is tried again when it has changed.
    """
    digest = hashlib.sha256(fingerprint.encode())
    if entry.atoms is None:
        file = entry.source.rsplit("@", 1)[0]
        facts = os.stat(file) if os.path.isfile(file) else None
        digest.update(f"{entry.source} {entry.error} {facts and (facts.st_size, facts.st_mtime_ns)}".encode())
    else:
        atoms = entry.atoms
        # Adding zero makes -0.0 and 0.0 the same.
        arrays = (atoms.numbers.astype("<i8"), atoms.positions.astype("<f8") + 0, atoms.cell.array.astype("<f8") + 0, atoms.pbc)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def compute_chunk(task: Task) -> dict[str, int]:
    """Compute all structures of a task and write their shard; {status: how many}. A structure that fails is a row, no error."""
    uncertainty = load_uncertainty(task.settings)
    rows = _compute_rows(task, uncertainty)
    write_shard(task.folder, task.number, rows, task.settings.properties)
    return dict(Counter(row["status"] for row in rows))


def write_failure(task: Task, reason: str) -> dict[str, int]:
    """Record that nothing of a task can be computed."""
    rows = [_start_row(i, entry) | _failed(reason) for i, entry in zip(task.ids, task.entries, strict=True)]
    write_shard(task.folder, task.number, rows, task.settings.properties)
    return {"error": len(rows)}


def _compute_rows(task: Task, uncertainty: Uncertainty) -> list[dict[str, Any]]:
    predictor = uncertainty.predictor
    rows: list[dict[str, Any]] = []
    ready: list[tuple[int, Atoms]] = []
    structures: list[Structure] = []
    for number, (identity, entry) in enumerate(zip(task.ids, task.entries, strict=True)):
        rows.append(_start_row(identity, entry))
        try:
            if entry.atoms is None:
                raise ValueError(entry.error)
            structure = Structure.from_atoms(entry.atoms)
            reasons = predictor.check(structure)
        except Exception as error:
            # Whatever is wrong with one structure must not end the screening of the others.
            rows[-1] |= _failed(_describe(error)) | {"out_of_domain": isinstance(error, UnsupportedStructureError)}
            continue
        rows[-1] |= {"reasons": reasons, "out_of_domain": bool(reasons)}
        ready.append((number, entry.atoms))
        structures.append(structure)
    samples = predict_each(predictor, structures, task.settings.batch)
    for (number, atoms), structure, sample in zip(ready, structures, samples, strict=True):
        started = time.perf_counter()
        try:
            if isinstance(sample, Exception):
                raise sample
            rows[number] |= _analyse(sample, structure, atoms, task.settings, uncertainty, rows[number])
        except Exception as error:
            rows[number] |= _failed(_describe(error))
        rows[number]["seconds"] = time.perf_counter() - started
    return rows


def _analyse(sample, structure, atoms: Atoms, settings: ScreenSettings, uncertainty: Uncertainty, row: dict) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = analyse(sample, atoms, settings)
        trust = uncertainty.estimate(structure, sample, found)
    reasons = row["reasons"] + trust.pop("reasons", [])
    messages = list(dict.fromkeys(str(warning.message) for warning in caught))
    return found | trust | {"status": "ok", "reasons": reasons, "out_of_domain": bool(reasons), "warnings": messages}


def _start_row(identity: str, entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"id": identity, "source": entry.source, "info": encode_info(entry.info)}
    if entry.atoms is not None:
        atoms = entry.atoms
        row |= {
            "formula": atoms.get_chemical_formula(),
            "n_atoms": len(atoms),
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.ravel().tolist(),
            "cell": atoms.cell.array.ravel().tolist(),
            "pbc": atoms.pbc.tolist(),
        }
    return row


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "error", "error": reason}


def _describe(error: Exception) -> str:
    """The message of our own errors, which are for users; the type as well for what nobody foresaw."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (ValueError, MemoryError)) and text else f"{type(error).__name__}: {text}"


def restore_atoms(row: dict[str, Any]) -> Atoms:
    """The structure of a row."""
    return Atoms(
        numbers=row["numbers"],
        positions=np.reshape(row["positions"], (-1, 3)),
        cell=np.reshape(row["cell"], (3, 3)),
        pbc=row["pbc"],
    )
