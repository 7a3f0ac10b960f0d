"""Rows of a screening as its report shows them."""

import numpy as np
import pytest
from ase.build import bulk, graphene, molecule

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.plot.labels import gather_ticks
from ase_tracegrad.report import write_screening_report
from ase_tracegrad.report.screening_rows import COLUMNS, convert_rows, restore_bands
from tests.standin_model import StandInPredictor


def make_row(atoms, path=None, npoints=20) -> dict:
    """What screen.analysis stores of a structure."""
    calc = TraceGradCalculator(StandInPredictor(), kpts={"size": (2, 2, 1), "gamma": True}, fermi_kpts=(2, 2, 1))
    bands = calc.band_structure(path, npoints if atoms.pbc.any() else None, atoms=atoms)
    return {
        "source": "file.xyz",
        "error": None,
        "formula": str(atoms.symbols),
        "cell": np.asarray(atoms.cell).ravel().tolist(),
        "pbc": atoms.pbc.tolist(),
        "gap": 1.0,
        "fermi_level": float(bands.reference),
        "bands_path": bands.path.path,
        "bands_kpts": bands.path.kpts.tolist(),
        "bands": bands.energies[0].astype(np.float32).tolist(),
    }, bands


def sheet(periodic: bool):
    atoms = graphene(a=2.46, vacuum=6.0)
    atoms.pbc = (True, True, periodic)
    return atoms


CASES = {
    "bulk": (bulk("Si"), None),
    "sheet": (sheet(False), "GMKG"),
    "sheet in a box": (sheet(True), None),
    "molecule": (molecule("CH4"), None),
}


@pytest.mark.parametrize("name", CASES)
def test_bands_come_back(name):
    row, bands = make_row(*CASES[name])
    found = restore_bands(row)
    assert np.allclose(found.energies, bands.energies, atol=1e-5)
    assert found.reference == bands.reference
    assert gather_ticks(found.path) == gather_ticks(bands.path)


def test_names_that_ase_does_not_know_are_left_out(tmp_path):
    row, _ = make_row(bulk("Si"))
    unnamed = restore_bands(row | {"bands_path": "GSigma0"})
    assert gather_ticks(unnamed.path) == {}
    write_screening_report([{"name": "a", "bands": unnamed}], tmp_path / "report.html")


def test_flags_and_columns():
    row, _ = make_row(bulk("Si"))
    failed = {"source": "b.xyz", "error": "no element Xx", "reasons": None, "warnings": None, "bands": None, "id": "1f"}
    doubtful = row | {"error": None, "reasons": ["short bond"], "warnings": ["ghost state"], "seconds": 1.0}
    first, second, third = convert_rows([failed, doubtful, row], most_bands=1)
    assert first == {"name": "b.xyz", "flags": ["no element Xx"]}
    assert second["flags"] == ["short bond", "ghost state"]
    assert set(second) == {"name", "formula", "gap", "fermi_level", "flags", "bands"}
    assert "bands" not in third
    assert third["flags"] == []


def test_a_page_of_them(tmp_path):
    row, _ = make_row(bulk("Si"))
    assert write_screening_report(convert_rows([row]), tmp_path / "report.html", labels=COLUMNS) == 1
