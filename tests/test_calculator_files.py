"""Results in ASE's files and data bases, and the total energy that is never faked."""

import math
import warnings

import ase.db
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointDFTCalculator, arrays_to_kpoints
from ase.dft.bandgap import bandgap
from ase.io import read, write
from ase.optimize import BFGS

from ase_tracegrad import TraceGradCalculator
from tests.calculator_cases import count_predictions, every_case, make_atoms, no_energy_warning
from tests.standin_model import StandInPredictor

pytestmark = no_energy_warning


@every_case
def test_exported_results_are_what_ase_allows(case):
    atoms, _ = make_atoms(case)
    atoms.get_potential_energy()
    exported = atoms.calc.export_properties()
    assert {"fermi_level", "ibz_kpoints", "kpoint_weights", "eigenvalues", "occupations"} <= set(exported)
    assert "energy" not in exported
    properties = atoms.calc.calculate_properties(atoms, ["eigenvalues", "fermi_level"])
    assert properties["eigenvalues"].shape[0] == 1


@every_case
def test_database_trajectory_and_extxyz_hold_no_energy(case, tmp_path):
    atoms, path = make_atoms(case)
    bands = atoms.calc.band_structure(path[:2], npoints=5)
    database = ase.db.connect(tmp_path / "rows.db")
    row = database.get(database.write(atoms, gap=atoms.calc.band_gap().gap, data={"bands": bands}))
    assert row.calculator == "tracegrad"
    assert row.get("energy") is None
    assert row.calculator_parameters["model"] == atoms.calc.predictor.card.name
    assert row.calculator_parameters["kpts"] == list(atoms.calc.parameters["kpts"])
    assert np.allclose(row.data["bands"].energies, bands.energies)
    atoms.get_potential_energy()
    for name in ("a.traj", "a.extxyz", "a.json"):
        write(tmp_path / name, atoms)
        again = read(tmp_path / name)
        assert again.calc is None or "energy" not in again.calc.results
        assert np.allclose(again.positions, atoms.positions)


def test_a_path_in_kpts_goes_into_a_database(tmp_path):
    atoms, path = make_atoms("silicon")
    atoms.calc.set(kpts=atoms.cell.bandpath(path, npoints=6))
    database = ase.db.connect(tmp_path / "rows.db")
    row = database.get(database.write(atoms))
    assert np.allclose(row.calculator_parameters["kpts"]["kpts"], atoms.calc.parameters["kpts"].kpts)


def test_results_freeze_into_a_single_point_calculator():
    atoms, _ = make_atoms("silicon")
    calc = atoms.calc
    exported = calc.calculate_properties(atoms, ["eigenvalues"])
    points = arrays_to_kpoints(exported["eigenvalues"], exported["occupations"], exported["kpoint_weights"])
    frozen = SinglePointDFTCalculator(
        atoms,
        efermi=calc.get_fermi_level(),
        bzkpts=calc.get_bz_k_points(),
        ibzkpts=calc.get_ibz_k_points(),
        bz2ibz=calc.get_bz_to_ibz_map(),
        kpts=points,
    )
    assert np.allclose(frozen.get_eigenvalues(3), calc.get_eigenvalues(3))
    assert bandgap(frozen)[0] == bandgap(calc)[0]


@pytest.mark.filterwarnings("default:TraceGrad predicts")
def test_energy_is_never_faked():
    atoms, _ = make_atoms("silicon")
    with pytest.warns(UserWarning, match="potential="):
        assert math.isnan(atoms.get_potential_energy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(atoms.get_potential_energy())
    assert TraceGradCalculator.implemented_properties == ["charges", "dipole"]
    for ask in (atoms.get_forces, atoms.get_stress, atoms.get_dipole_moment):
        with pytest.raises(PropertyNotImplementedError):
            ask()
    with pytest.raises(PropertyNotImplementedError):
        BFGS(atoms, logfile=None).run(steps=1)
    with pytest.raises(PropertyNotImplementedError, match="potential="):
        atoms.calc.calculate(atoms, ["energy"])


def test_potential_supplies_energy_forces_and_stress(monkeypatch, tmp_path):
    atoms, _ = make_atoms("silicon", potential=LennardJones(sigma=2.0, rc=4.0))
    predicted = count_predictions(atoms.calc, monkeypatch)
    reference = bulk("Si")
    reference.calc = LennardJones(sigma=2.0, rc=4.0)
    assert atoms.get_potential_energy() == reference.get_potential_energy()
    assert np.array_equal(atoms.get_forces(), reference.get_forces())
    assert np.array_equal(atoms.get_stress(), reference.get_stress())
    assert TraceGradCalculator.implemented_properties == ["charges", "dipole"], "the class attribute is shared by all calculators"
    atoms.rattle(0.05, seed=1)
    BFGS(atoms, logfile=None, trajectory=str(tmp_path / "relax.traj")).run(fmax=0.5, steps=3)
    assert not predicted, "a relaxation needs no Hamiltonian"
    relaxed = atoms.positions.copy()
    level = atoms.calc.get_fermi_level()
    assert len(predicted) == 1
    assert np.allclose(predicted[0].positions, relaxed)
    assert atoms.get_potential_energy() == atoms.calc.results["energy"]
    assert atoms.calc.get_fermi_level() == level
    assert len(predicted) == 1
    row = ase.db.connect(tmp_path / "rows.db")
    assert row.get(row.write(atoms)).energy == atoms.get_potential_energy()


def test_potential_must_be_a_calculator():
    with pytest.raises(InputError, match="ASE calculator"):
        TraceGradCalculator(StandInPredictor(), potential="lj")
