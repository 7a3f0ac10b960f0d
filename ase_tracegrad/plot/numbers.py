"""The numbers of a picture in a file beside it: columns as csv, anything as json."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase.spectrum.band_structure import BandStructure
from ase.spectrum.doscollection import GridDOSCollection
from ase.spectrum.dosdata import GridDOSData

from ..replace_file import replace_text


def write_numbers(path, columns: Mapping[str, np.ndarray]):
    """Write columns {name with unit: (R,)} as .csv, or arrays of any shape as .json; nan becomes an empty cell or null.

    Text is kept as it is. ValueError for another ending, or columns of different lengths in a csv.
    """
    path = Path(path)
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    if path.suffix == ".json":
        plain = {name: _without_nan(values.tolist()) for name, values in arrays.items()}
        replace_text(path, json.dumps(plain, allow_nan=False))
        return
    if path.suffix != ".csv":
        raise ValueError(f"{path}: numbers are written as .csv or .json")
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(f"a csv needs columns of one length, found {shapes}; write .json instead")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(arrays)
    for row in zip(*(values.tolist() for values in arrays.values()), strict=True):
        writer.writerow("" if cell != cell else cell for cell in row)
    replace_text(path, text.getvalue())


def tabulate_bands(bands: BandStructure, shares: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """One row for each k-point and band: place on the path, k, band number (from 1), energy in eV (absolute), shares.

    Spin-polarised bands have a column 'spin' (0, 1); shares: {group: (K, n)}, of bands without spin.
    """
    n_spin, n_kpts, n = bands.energies.shape
    if shares is not None and n_spin > 1:
        raise ValueError("shares belong to bands without spin polarisation")
    x = bands.path.get_linear_kpoint_axis()[0]
    columns = {"path (1/Angstrom)": np.tile(np.repeat(x, n), n_spin)}
    for axis in range(3):
        columns[f"k{axis + 1}"] = np.tile(np.repeat(bands.path.kpts[:, axis], n), n_spin)
    if n_spin > 1:
        columns["spin"] = np.repeat(np.arange(n_spin), n_kpts * n)
    columns["band"] = np.tile(np.arange(1, n + 1), n_spin * n_kpts)
    columns["energy (eV)"] = bands.energies.ravel()
    for name, share in (shares or {}).items():
        columns[f"share of {name}"] = np.asarray(share).ravel()
    return columns


def tabulate_dos(dos: GridDOSData | GridDOSCollection) -> dict[str, np.ndarray]:
    """Energies from the Fermi level in eV, the density of states in states per eV and cell, and its parts if there are any."""
    parts = list(dos) if isinstance(dos, GridDOSCollection) else [dos]
    weights = [np.asarray(part.get_weights()) for part in parts]
    columns = {"energy - E_F (eV)": np.asarray(parts[0].get_energies()), "DOS (states / (eV cell))": np.sum(weights, axis=0)}
    if isinstance(dos, GridDOSCollection):
        columns |= {part.info["label"]: weight for part, weight in zip(parts, weights, strict=True)}
    return columns


def _without_nan(values):
    if isinstance(values, list):
        return [_without_nan(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values
