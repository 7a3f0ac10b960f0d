"""What the calculator answers in reciprocal space beyond bands: projections, charges, symmetry, irreducible k."""

import logging

import numpy as np
import pytest
from ase.build import molecule
from ase.spectrum.doscollection import GridDOSCollection

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.gap import find_band_gap
from ase_tracegrad.electronic.kmesh import make_mesh, name_kpt
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.kpoints import named_points
from tests.calculator_cases import every_case, make_atoms
from tests.standin_model import StandInPredictor


@pytest.mark.parametrize("by", ["atom", "shell", "orbital"])
@pytest.mark.parametrize(("method", "width"), [("mulliken", 0.1), ("loewdin", 0.0)])
def test_projected_dos_adds_up(by, method, width):
    atoms, _ = make_atoms("silicon")
    grid = np.linspace(-20, 10, 601)
    parts = atoms.calc.projected_dos(grid, by=by, method=method, width=width)
    total = np.asarray(atoms.calc.dos(grid, width=width).get_weights())
    assert isinstance(parts, GridDOSCollection)
    assert len(parts) == {"atom": 2, "shell": 2, "orbital": 4}[by]
    assert np.allclose(parts.sum_all().get_weights(), total, atol=1e-8 * total.max())
    if by == "orbital":
        assert len(parts.select(element="Si", l="p")) == 3


@every_case
def test_fat_bands(case):
    atoms, path = make_atoms(case)
    bands, shares = atoms.calc.fat_bands(path, 20)
    assert np.allclose(bands.energies, atoms.calc.band_structure(path, 20).energies, atol=1e-9)
    assert {"silicon": "Si p"}.get(case, "C p") in shares
    assert np.allclose(sum(shares.values()), 1.0)
    assert all(share.min() > -1e-12 for share in shares.values())


def test_fat_bands_at_the_touching_point_are_p():
    atoms, _ = make_atoms("graphene")
    _, shares = atoms.calc.fat_bands("GK", 2, by="orbital")
    assert np.allclose(shares["C p_z"][-1, 3:5], 1.0)


@pytest.mark.parametrize("method", ["mulliken", "loewdin"])
def test_populations_of_a_molecule(method):
    atoms = molecule("CH4", vacuum=4.0)
    atoms.calc = TraceGradCalculator(StandInPredictor())
    found = atoms.calc.populations(method=method)
    assert found.electrons.sum() == pytest.approx(8)
    assert found.charges.sum() == pytest.approx(0, abs=1e-9)
    assert np.ptp(found.charges[1:]) < 1e-5
    assert abs(found.charges[0]) > 1e-3
    assert method in str(found)
    assert "H 4" in str(found)


@every_case
def test_equal_atoms_are_neutral(case):
    atoms, _ = make_atoms(case)
    assert np.abs(atoms.calc.populations().charges).max() < 1e-4


@every_case
def test_symmetry_report(case):
    atoms, _ = make_atoms(case)
    report = atoms.calc.symmetry_report()
    assert report.group.name == ("Fd-3m" if case == "silicon" else "p6/mmm")
    assert report.hamiltonian.max() < 1e-4
    assert report.overlap.max() < 1e-9
    assert report.splitting.max() < 1e-3
    at = {name_kpt(k, report.names): levels for k, levels in zip(report.kpts, report.degeneracies, strict=True)}
    # Graphene at K: E', A', E'' (the Dirac point). Silicon: Gamma1, Gamma25', Gamma15; X1, X4; L2', L1, L3' (Cardona's names).
    if case == "silicon":
        assert (at["Gamma"], at["X"], at["L"]) == ((1, 3, 3), (2, 2), (1, 1, 2))
    else:
        assert at["K"] == (2, 1, 2)
    assert f"{'Gamma = (0, 0, 0)':<34}{1e3 * report.splitting[0]:>12.2e}  1 " in str(report)
    assert "time reversal" in str(report)
    assert ("largest H MAE over the test sets" in str(report)) == bool(atoms.calc.predictor.card.errors)


def test_symmetry_report_of_a_displaced_atom():
    atoms, _ = make_atoms("silicon")
    atoms.positions[1] += [0.05, 0.02, 0.01]
    assert len(atoms.calc.symmetry_report().group) < 48
    coarse = atoms.calc.symmetry_report(tolerance=0.2)
    assert len(coarse.group) == 48
    assert coarse.hamiltonian.max() > 1e-3


@every_case
def test_symmetrized_hamiltonian(case):
    atoms, _ = make_atoms(case)
    plain, symmetric = atoms.calc.hamiltonian(), atoms.calc.hamiltonian(symmetrized=True)
    assert np.abs(symmetric.restricted_to(plain).values - plain.values).max() < 1e-4


def test_irreducible_points_change_nothing():
    atoms, _ = make_atoms("silicon")
    structure = ElectronicStructure(atoms.calc.sample())
    mesh, grid = make_mesh((6, 6, 6)), np.linspace(-25, 0, 251)
    reduced = structure.reduce(mesh)
    assert len(reduced) < len(mesh) / 3
    energies = structure.energies(mesh.kpts)
    assert np.allclose(reduced.unfold(structure.energies(reduced.kpts)), mesh.unfold(energies), atol=1e-9)
    full = structure._broaden(mesh, energies, grid, 0.1)
    assert np.allclose(structure.compute_dos(mesh, grid, width=0.1), full, atol=1e-9 * full.max())
    expected = find_band_gap(energies, mesh.kpts, 8)
    assert structure.find_band_gap(mesh, refine=False).gap == pytest.approx(expected.gap, abs=1e-9)


@pytest.mark.parametrize("width", [0.1, 0.0])
def test_bonds_hold_electrons_and_band_energy(width):
    """Below the Fermi level all COOP add up to the electrons, all COHP to the band energy; Si's bonds are bonding."""
    atoms, _ = make_atoms("silicon")
    structure = ElectronicStructure(atoms.calc.sample())
    mesh = make_mesh((4, 4, 4))
    level, index = structure.find_fermi_level(mesh), structure.sample.overlap.index
    once = [(i, j, r) for i, j, r in index if (i, j, r) <= (j, i, tuple(-x for x in r))]
    grid = np.linspace(level - 40, level, 4001)
    coop, cohp = structure.compute_bond_dos(mesh, grid, once, width=width)
    energies = structure.energies(mesh.kpts)
    assert np.trapezoid(coop.sum(axis=0), grid) == pytest.approx(8.0, abs=1e-2)
    assert np.trapezoid(cohp.sum(axis=0), grid) == pytest.approx(2 * mesh.weights @ energies[:, :4].sum(axis=1), rel=5e-3)
    bond = once.index((0, 1, (0, 0, 0)))
    assert np.trapezoid(coop[bond], grid) > 0 > np.trapezoid(cohp[bond], grid)


def test_a_matrix_without_the_symmetry_is_solved_on_the_full_mesh(caplog):
    atoms, _ = make_atoms("silicon")
    sample = atoms.calc.sample()
    noise = 0.1 * np.random.default_rng(0).normal(size=sample.hamiltonian.values.shape)
    broken = type(sample.hamiltonian)(
        sample.hamiltonian.layout, sample.hamiltonian.pairs, sample.hamiltonian.shifts, sample.hamiltonian.values + noise
    ).symmetrized()
    structure = ElectronicStructure(type(sample)(sample.structure, sample.basis, broken, sample.overlap))
    mesh = make_mesh((4, 4, 4))
    with caplog.at_level(logging.INFO):
        assert len(structure.reduce(mesh)) == len(mesh)
    assert "not reduced by rotations" in caplog.text


def test_the_gap_is_followed_off_the_mesh():
    atoms, _ = make_atoms("silicon")
    atoms.set_cell(atoms.cell * 0.9, scale_atoms=True)
    coarse, refined = (atoms.calc.band_gap(kpts=(5, 5, 5), refine=r) for r in (False, True))
    fine = atoms.calc.band_gap(kpts=(25, 25, 25), refine=False)
    assert refined.gap <= coarse.gap
    assert refined.gap == pytest.approx(fine.gap, abs=5e-3)


def test_points_above_each_other_across_vacuum_are_one():
    """With a period along the normal the lattice has an H above K; nothing disperses between them."""
    atoms, _ = make_atoms("graphene")
    atoms.pbc = True
    assert "H" in named_points(atoms)
    assert "touch at K = (0.3333, 0.3333, 0)" in str(atoms.calc.band_gap())


@pytest.mark.parametrize("point", [[1 / 3, 1 / 3, 0], [-1 / 3, 2 / 3, 0], [2 / 3, -1 / 3, 1]])
def test_names_of_equivalent_points(point):
    atoms, _ = make_atoms("graphene")
    gap = atoms.calc.band_gap()
    assert "touch at K = (0.3333, 0.3333, 0)" in str(gap)
    assert gap.name_kpt(np.array(point)) == "K"
    assert gap.name_kpt(np.array([0.5, 0.5, 0.0])) == "M"
    assert gap.name_kpt(np.array([0.2, 0.1, 0.0])) is None
    assert {"Gamma", "K", "M"} <= set(named_points(atoms))
