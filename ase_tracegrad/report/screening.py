"""Report of a screening: a table to sort and filter, two quantities against each other, and bands where there are any."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase.spectrum.band_structure import BandStructure

from .. import __version__
from .bands import describe_bands
from .page import make_page, write_page

SCRIPTS = ("dom.js", "chart.js", "bands.js", "screening_report.js")
LABELS = {
    "gap": "gap (eV)",
    "direct_gap": "direct gap (eV)",
    "fermi_level": "Fermi level (eV)",
}
FIRST = ("name", "formula", "gap", "direct_gap", "fermi_level")  # columns, in this order, before all others
LAST = ("flags",)
BESIDE = 1.0  # eV; how far a window goes on beyond the edges of a gap


def write_screening_report(
    rows: Iterable[Mapping[str, Any]],
    out,
    *,
    title: str = "Screening",
    labels: Mapping[str, str] | None = None,
    window: Sequence[float] = (-4.0, 4.0),
) -> int:
    """Write the report of a screening to the HTML file ``out``; returns the number of rows.

    rows: one mapping for each structure with 'name' and any of 'formula', 'gap', 'fermi_level' (eV), 'flags' (a text or a list of
    texts: warnings, or why it failed), 'bands' (an ase BandStructure), and whatever else is a number, a text, a truth value or
    None; a key that a row lacks is empty there. labels: {key: heading with unit} of columns; window: energies of the bands
    shown, eV from the Fermi level. Raises KeyError for a row without a name, TypeError for values that no table can show.
    """
    columns: dict[str, list] = {}
    bands: dict[int, dict] = {}
    count = 0
    for count, row in enumerate(rows, start=1):
        if "name" not in row:
            raise KeyError(f"row {count - 1} of the screening has no 'name'; it has {', '.join(map(repr, row)) or 'nothing'}")
        for key, value in row.items():
            if key == "bands":
                if value is not None:
                    bands[count - 1] = _describe_row_bands(value, row["name"], window)
                continue
            column = columns.setdefault(key, [])
            column.extend([None] * (count - 1 - len(column)))
            column.append(_plain_cell(value, key, row["name"]))
    for column in columns.values():
        column.extend([None] * (count - len(column)))
    middle = [key for key in columns if key not in FIRST + LAST]
    order = [key for key in (*FIRST, *middle, *LAST) if key in columns]
    known = LABELS | dict(labels or {})
    described = [{"label": known.get(key, key.replace("_", " ")), "key": key, "values": columns[key]} for key in order]
    data = {"count": count, "columns": described, "bands": bands}
    write_page(out, make_page(title, f"{count} structures, ase_tracegrad {__version__}", SCRIPTS, data))
    return count


def _describe_row_bands(bands, name: str, window: Sequence[float]) -> dict:
    if not isinstance(bands, BandStructure):
        raise TypeError(f"the bands of {name} must be an ase BandStructure, found {type(bands).__name__}")
    from_zero = np.asarray(bands.energies) - bands.reference
    filled, empty = from_zero[from_zero <= 0], from_zero[from_zero > 0]
    # A gap wider than the window would show no states.
    low = min(window[0], filled.max() - BESIDE) if filled.size else window[0]
    high = max(window[1], empty.min() + BESIDE) if empty.size else window[1]
    found = describe_bands(bands, (low, high))
    # A screening holds many: meV are enough to look at.
    return found | {"energies": np.round(found["energies"], 4), "x": np.round(found["x"], 5), "kpts": np.round(found["kpts"], 5)}


def _plain_cell(value, key: str, name: str):
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{key} of {name}: a table shows numbers, texts, truth values and None, found {type(value).__name__}")
