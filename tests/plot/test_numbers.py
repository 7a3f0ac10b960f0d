"""The numbers beside a picture: what is in the files is what the calculator said."""

import csv
import json

import numpy as np
import pytest
from ase.build import bulk
from ase.spectrum.band_structure import BandStructure

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.plot import tabulate_bands, tabulate_dos, write_numbers
from tests.standin_model import StandInPredictor


@pytest.fixture(scope="module")
def silicon():
    atoms = bulk("Si")
    atoms.calc = TraceGradCalculator(StandInPredictor(), kpts=(4, 4, 4))
    return atoms.calc


def read(path) -> dict[str, np.ndarray]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_bands_and_shares(silicon, tmp_path):
    bands, shares = silicon.fat_bands("GX", 7)
    write_numbers(tmp_path / "bands.csv", tabulate_bands(bands, shares))
    found = read(tmp_path / "bands.csv")
    assert np.array_equal(found["energy (eV)"].reshape(7, 8), bands.energies[0])
    assert np.array_equal(found["k2"].reshape(7, 8)[:, 0], bands.path.kpts[:, 1])
    assert np.array_equal(found["band"][:8], np.arange(1, 9))
    assert np.allclose(found["share of Si s"] + found["share of Si p"], 1)


def test_spin_polarised_bands(silicon):
    bands = silicon.band_structure("GX", 3)
    both = BandStructure(bands.path, np.concatenate([bands.energies, bands.energies + 1]), reference=0.0)
    table = tabulate_bands(both)
    assert np.array_equal(table["energy (eV)"][table["spin"] == 1], bands.energies.ravel() + 1)
    with pytest.raises(ValueError, match="without spin polarisation"):
        tabulate_bands(both, {"s": np.ones((3, 8))})


def test_dos_and_its_parts(silicon, tmp_path):
    grid = np.linspace(-10, 5, 31)
    parts = silicon.projected_dos(grid, by="shell")
    write_numbers(tmp_path / "dos.csv", tabulate_dos(parts))
    found = read(tmp_path / "dos.csv")
    assert np.allclose(found["energy - E_F (eV)"], grid)
    assert np.allclose(found["Si s"] + found["Si p"], found["DOS (states / (eV cell))"])
    assert set(tabulate_dos(silicon.dos(grid))) == {"energy - E_F (eV)", "DOS (states / (eV cell))"}


def test_missing_values_and_endings(tmp_path):
    write_numbers(tmp_path / "a.json", {"x": np.array([[1.0, np.nan]]), "name": "text"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [[1.0, None]], "name": "text"}
    write_numbers(tmp_path / "a.csv", {"x, y": [1.0, np.nan], "n": [1, 2]})
    assert (tmp_path / "a.csv").read_text() == '"x, y",n\n1.0,1\n,2\n'
    with pytest.raises(ValueError, match="columns of one length"):
        write_numbers(tmp_path / "b.csv", {"x": [1.0], "y": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"\.csv or \.json"):
        write_numbers(tmp_path / "b.txt", {"x": [1.0]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json"]
