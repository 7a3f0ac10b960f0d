"""A folder of snapshots: displacements and what was measured on each, so that an interrupted run goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..replace_file import replace_file, replace_text
from .edges import EdgeEnergies

# Displacements that differ by less are the same ones, made by another version of a linear algebra library.
SAME = 1e-6  # Angstrom


class SnapshotError(ValueError):
    """A folder that holds the snapshots of another calculation, or a file in it that is damaged."""


class SnapshotFolder:
    """settings.json says what the snapshots are of; 300K/displacements.npy (S, N, 3) Angstrom; 300K/0004.npz: energies and
    spreads of the edges. Every file is complete or not there.

    settings: what must be equal for snapshots to be used again. Raises SnapshotError naming what differs.
    """

    def __init__(self, path, settings: dict):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "settings.json"
        if not file.exists():
            replace_text(file, json.dumps(settings, indent=1))
            return
        known = _read(file, lambda: dict(json.loads(file.read_text())), "choose another folder")
        different = sorted(key for key in known.keys() | settings.keys() if known.get(key) != settings.get(key))
        if different:
            raise SnapshotError(
                f"{self.path} holds snapshots of another calculation, different in {', '.join(different)}: choose another folder"
            )

    def keep_displacements(self, temperature: float, displacements: np.ndarray) -> np.ndarray:
        """The displacements (S, N, 3) of a temperature: those in the folder, with the given ones after them.

        Raises SnapshotError if the first are not equal: the answers in the folder would be of other structures.
        """
        folder = self._folder(temperature)
        folder.mkdir(exist_ok=True)
        file = folder / "displacements.npy"
        if file.exists():
            known = _read(file, lambda: np.atleast_3d(np.load(file, allow_pickle=False)))
            n = min(len(known), len(displacements))
            if known.shape[1:] != displacements.shape[1:] or not np.abs(known[:n] - displacements[:n]).max(initial=0.0) <= SAME:
                raise SnapshotError(f"{file} holds other displacements than would be drawn now: choose another folder")
            if len(known) >= len(displacements):
                return known[: len(displacements)]
        with replace_file(file) as part, part.open("wb") as stream:
            np.save(stream, displacements)
        return displacements

    def read(self, temperature: float, number: int) -> EdgeEnergies | None:
        """What was measured on a snapshot; None if it was not yet."""
        file = self._folder(temperature) / f"{number:04d}.npz"
        if not file.exists():
            return None

        def load() -> EdgeEnergies:
            with np.load(file, allow_pickle=False) as stored:
                return EdgeEnergies(stored["energies"], stored["spreads"])

        return _read(file, load)

    def write(self, temperature: float, number: int, edges: EdgeEnergies):
        """Keep what was measured on a snapshot."""
        with replace_file(self._folder(temperature) / f"{number:04d}.npz") as part, part.open("wb") as stream:
            np.savez(stream, energies=edges.energies, spreads=edges.spreads)

    def _folder(self, temperature: float) -> Path:
        return self.path / f"{temperature:g}K"


def _read(file: Path, load: Callable[[], Any], advice: str = "delete it, and what was in it is made anew"):
    """What ``load`` finds in a file; SnapshotError if it is damaged."""
    try:
        return load()
    except Exception as error:
        # numpy and zipfile raise whatever their parsers meet: NotImplementedError, tokenize.TokenError ...
        raise SnapshotError(f"{file} cannot be read ({type(error).__name__}: {error}): {advice}") from error
