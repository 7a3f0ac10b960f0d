"""Sheets, slabs, chains and molecules; the ways ASE finds the calculator."""

import subprocess
import sys
from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase.build import graphene, molecule
from ase.calculators.calculator import get_calculator_class
from ase.dft.bandgap import bandgap
from ase.io import write
from ase.spectrum.band_structure import calculate_band_structure

from ase_tracegrad import TraceGradCalculator
from tests.calculator_cases import EMBEDDED, every_sheet, needs_embedded, no_energy_warning, write_untrained_model
from tests.standin_model import StandInPredictor

pytestmark = no_energy_warning
ASE = str(Path(sys.executable).parent / "ase")


@every_sheet
def test_sheets_with_and_without_third_vector_and_slabs(case):
    model = StandInPredictor() if case == "graphene" else EMBEDDED
    levels = []
    for vacuum, pbc in ((None, (1, 1, 0)), (6.0, (1, 1, 0)), (8.0, True)):
        atoms = graphene(a=2.46, vacuum=vacuum)
        atoms.pbc = pbc
        atoms.calc = TraceGradCalculator(model, kpts=(6, 6, 1))
        bands = atoms.calc.band_structure(npoints=30)
        assert bands.path.path == "GMKG"
        assert bands.energies.shape[1] == 30
        levels.append(atoms.calc.get_fermi_level())
        assert atoms.calc.band_gap().kind == "semimetal"
        for width in (0.1, 0.0):
            assert np.asarray(atoms.calc.dos(width=width).get_weights()).max() > 0.1
        if atoms.cell.rank == 3 and not atoms.pbc.all():
            assert calculate_band_structure(atoms, atoms.cell.bandpath("GMK", npoints=9, pbc=atoms.pbc)).energies.shape[1] == 9
    assert abs(levels[1] - levels[0]) < 1e-3
    if case == "graphene":
        assert abs(levels[2] - levels[0]) < 1e-3
    else:  # Without a period along the normal energies count from the vacuum: minus the work function of graphene, 4.3 to 4.6 eV.
        assert levels[0] == pytest.approx(-4.5, abs=0.2)


@pytest.mark.parametrize("vacuum", [None, 4.0])
def test_molecules_with_and_without_a_box(vacuum):
    atoms = molecule("CH4", vacuum=vacuum)
    atoms.calc = TraceGradCalculator(StandInPredictor())
    assert np.array_equal(atoms.calc.get_ibz_k_points(), [[0, 0, 0]])
    assert bandgap(atoms.calc)[0] == pytest.approx(atoms.calc.band_gap().gap)
    assert atoms.calc.band_gap().kind == "closed shell"
    assert atoms.calc.get_occupation_numbers().sum() == 8
    assert atoms.calc.band_structure().energies.shape == (1, 1, 8)
    grid = np.linspace(-60, 60, 6001)
    assert np.trapezoid(atoms.calc.dos(grid).get_weights(), grid) == pytest.approx(16, abs=1e-3)


def test_an_atom_with_a_partly_filled_level_is_no_metal():
    atoms = molecule("C")
    atoms.calc = TraceGradCalculator(StandInPredictor())
    assert atoms.calc.band_gap().kind == "open shell"
    assert "semimetal" not in str(atoms.calc.band_gap())


def test_molecule_in_a_periodic_box():
    atoms = molecule("CH4", vacuum=5.0)
    atoms.pbc = True
    atoms.calc = TraceGradCalculator(StandInPredictor(), kpts=(2, 1, 1))
    assert np.ptp([atoms.calc.get_eigenvalues(k) for k in range(1)]) > 1
    assert atoms.calc.band_structure().path.path == "G"


def test_chain():
    atoms = molecule("C2H2", vacuum=4.0)
    atoms.pbc = (0, 0, 1)
    atoms.cell[2, 2] = 3.8
    atoms.calc = TraceGradCalculator(StandInPredictor())
    bands = atoms.calc.band_structure(npoints=10)
    assert bands.path.path == "GX"
    assert np.all(bands.path.kpts[:, :2] == 0)


@pytest.mark.parametrize("width", [0.3, 0.0])
def test_mesh_and_dos_of_a_chain(width):
    atoms = molecule("C2H2", vacuum=4.0)
    atoms.pbc = (0, 0, 1)
    atoms.cell[2, 2] = 3.8
    atoms.calc = TraceGradCalculator(StandInPredictor(), kpts={"density": 8.0, "gamma": True})
    assert np.abs(atoms.calc.get_bz_k_points()[:, :2]).max() == 0
    assert len(atoms.calc.get_bz_k_points()) > 6
    # In one dimension linear pieces are boxes with sharp edges, some of them very narrow.
    grid = np.linspace(-60, 0, 120_001)
    assert np.trapezoid(atoms.calc.dos(grid, width=width).get_weights(), grid) == pytest.approx(10, abs=0.1)
    assert atoms.calc.band_gap().gap > 2


def test_registered_name_makes_a_calculator():
    cls = get_calculator_class("tracegrad")
    assert cls.nolabel
    assert isinstance(cls(model=StandInPredictor(), kpts=(2, 2, 2)), TraceGradCalculator)
    assert TraceGradCalculator.nolabel


@pytest.mark.parametrize("model", ["untrained", pytest.param(EMBEDDED, marks=needs_embedded)])
def test_ase_run(model, tmp_path, graphene_store):
    parameters = "kpts=2,2,1"
    if model == "untrained":
        write_untrained_model(tmp_path / "untrained.safetensors", graphene_store.basis)
        parameters += ",model=untrained.safetensors"
    write(tmp_path / "sheet.traj", graphene(a=2.46, vacuum=5.0))
    command = [ASE, "run", "tracegrad", "sheet.traj", "-p", parameters, "-o", "out.json"]
    command += ["--after", "print('level', atoms.calc.get_fermi_level())"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "level" in result.stdout
    row = ase.db.connect(tmp_path / "out.json").get(1)
    assert (row.natoms, row.calculator, row.get("energy")) == (2, "tracegrad", None)


def test_a_database_row_holds_what_makes_the_calculator_again(tmp_path, graphene_store):
    write_untrained_model(tmp_path / "untrained.safetensors", graphene_store.basis)
    atoms = graphene(a=2.46, vacuum=5.0)
    atoms.calc = TraceGradCalculator(tmp_path / "untrained.safetensors", kpts=(3, 2, 1))
    database = ase.db.connect(tmp_path / "rows.db")
    row = database.get(database.write(atoms))
    again = row.toatoms()
    again.calc = get_calculator_class(row.calculator)(**row.calculator_parameters)
    assert np.allclose(again.calc.get_eigenvalues(0)[:8], atoms.calc.get_eigenvalues(0)[:8], atol=1e-4)


def test_ase_lists_the_plugin_and_the_format():
    listed = subprocess.run([ASE, "info", "--plugins"], capture_output=True, text=True, check=True).stdout
    assert "tracegrad" in listed
    formats = subprocess.run([ASE, "info", "--formats"], capture_output=True, text=True, check=True).stdout
    assert "ext=tgh" in formats
