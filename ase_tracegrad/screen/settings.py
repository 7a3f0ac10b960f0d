"""ScreenSettings: what is computed for every structure, and the fingerprint that keeps other settings apart."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..kpoints import check_kpts_form
from ..models import available_models, find_model
from ..nn.trust import hash_model, trust_file

PROPERTIES = ("gap", "bands", "dos", "symmetry")
# How a row is computed, not what: these may differ between two runs into one folder.
MEANS = ("device", "batch")


@dataclass(frozen=True)
class ScreenSettings:
    """models: names or files; the first answers, with the others it gives the uncertainty. properties: some of PROPERTIES.

    kpts: mesh of gap and Fermi level, any form ASE knows; npoints, path: of the bands, path as in kpoints.make_band_path;
    dos_window (low, high) eV from the Fermi level, dos_step eV, dos_width: sigma in eV, 0 for tetrahedra; dtype of the
    network; tolerance: of the search for symmetry, Angstrom. device: None (CUDA if there is one), 'cpu', ...; batch:
    structures per forward pass, or 'auto'.
    """

    models: tuple[str, ...]
    properties: tuple[str, ...] = ("gap",)
    kpts: Any = field(default_factory=lambda: {"density": 5.0, "gamma": True})
    path: str | None = None
    npoints: int = 60
    dos_window: tuple[float, float] = (-10.0, 6.0)
    dos_step: float = 0.05
    dos_width: float = 0.1
    dtype: str = "float32"
    tolerance: float = 1e-3
    device: str | None = None
    batch: int | str = "auto"

    def __post_init__(self):
        models = [self.models] if isinstance(self.models, (str, Path)) else list(self.models)
        if not models:
            raise ValueError("screening needs at least one model")
        # Absolute, for workers in other folders.
        named = tuple(str(m) if str(m) in available_models() else str(find_model(m).absolute()) for m in models)
        object.__setattr__(self, "models", named)
        object.__setattr__(self, "properties", _check_properties(self.properties))
        check_kpts_form(self.kpts)
        low, high = (float(energy) for energy in self.dos_window)
        if not (low < high and self.dos_step > 0 and self.dos_width >= 0 and self.npoints >= 1 and self.tolerance > 0):
            raise ValueError(
                "expected dos_window with the lower energy first, positive dos_step, npoints and tolerance, dos_width >= 0; "
                f"found {self.dos_window}, {self.dos_step}, {self.npoints}, {self.tolerance}, {self.dos_width}"
            )
        object.__setattr__(self, "dos_window", (low, high))

    @property
    def dos_grid(self) -> np.ndarray:
        """(G,) eV from the Fermi level."""
        low, high = self.dos_window
        return low + self.dos_step * np.arange(round((high - low) / self.dos_step) + 1)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the numbers depend on, as plain data: every setting but MEANS, the model files by their SHA-256."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in MEANS}
        files = [find_model(model) for model in self.models]
        facts["models"] = [{"name": file.stem, "sha256": hash_model(file)} for file in files]
        trust = trust_file(files[0])
        facts["trust"] = hash_model(trust) if trust.is_file() else None
        return json.loads(json.dumps(facts, default=_plain))

    @cached_property
    def fingerprint(self) -> str:
        """Of ``identity``."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def __getstate__(self) -> dict:
        """The fields: hashes of files are taken where they are asked for."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _check_properties(properties: Sequence[str] | str) -> tuple[str, ...]:
    wanted = properties.split(",") if isinstance(properties, str) else list(properties)
    unknown = [name for name in wanted if name not in PROPERTIES]
    if unknown or not wanted:
        raise ValueError(f"properties: expected some of {', '.join(PROPERTIES)}; found {', '.join(map(repr, unknown)) or 'none'}")
    # Bands and densities of states are given with their Fermi level.
    return tuple(name for name in PROPERTIES if name in wanted or (name == "gap" and set(wanted) & {"bands", "dos"}))


def _plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if hasattr(value, "kpts"):
        return np.asarray(value.kpts).tolist()
    raise TypeError(f"a setting of type {type(value).__name__} cannot be stored")
