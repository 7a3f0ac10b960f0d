"""ASE's band structures, gaps and densities of states on the calculator."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.dft.bandgap import GapInfo, bandgap
from ase.dft.dos import DOS
from ase.dft.kpoints import monkhorst_pack
from ase.io.jsonio import read_json
from ase.spectrum.band_structure import calculate_band_structure, get_band_structure

from ase_tracegrad.units import BOLTZMANN
from tests.calculator_cases import count_predictions, every_case, every_sheet, make_atoms, no_energy_warning

pytestmark = no_energy_warning
ASE = str(Path(sys.executable).parent / "ase")


@every_case
def test_calculate_band_structure(case, monkeypatch, tmp_path):
    atoms, path = make_atoms(case)
    predicted = count_predictions(atoms.calc, monkeypatch)
    points = atoms.cell.bandpath(path, npoints=24, pbc=atoms.pbc)
    bands = calculate_band_structure(atoms, points, scf_kwargs={"kpts": (3, 3, 1)}, bs_kwargs={"width": 0.01})
    assert bands.energies.shape[:2] == (1, 24)
    assert np.isscalar(bands.reference)
    assert len(predicted) == 1, "H must be predicted once, whatever happens to kpts"
    assert np.allclose(atoms.calc.get_ibz_k_points(), points.kpts, atol=1e-12)
    assert np.allclose(bands.energies, atoms.calc.band_structure(points).energies, atol=1e-9)
    bands.write(tmp_path / "bands.json")
    again = read_json(tmp_path / "bands.json")
    assert np.allclose(again.energies, bands.energies)
    assert again.path.path == bands.path.path


def test_ase_commands_read_our_bands(tmp_path):
    atoms, path = make_atoms("silicon")
    atoms.calc.band_structure(path, npoints=20).write(tmp_path / "bands.json")
    for command in (["band-structure", "bands.json", "-o", "bands.png", "-r", "-5", "8"], ["reciprocal", "bands.json", "zone.png"]):
        subprocess.run([ASE, *command], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "bands.png").stat().st_size > 5000


@every_case
def test_fermi_level_never_follows_a_path(case):
    atoms, path = make_atoms(case)
    atoms.get_potential_energy()
    level = atoms.calc.get_fermi_level()
    atoms.calc.set(kpts={"path": path[:2], "npoints": 5})
    atoms.get_potential_energy()
    assert atoms.calc.get_fermi_level() == level == atoms.calc.band_structure().reference
    assert get_band_structure(atoms).energies.shape[1] == get_band_structure(calc=atoms.calc).energies.shape[1] == 5
    assert np.allclose(get_band_structure(atoms).energies, atoms.calc.band_structure().energies)


@every_case
def test_set_kpts_only_diagonalises_again(case, monkeypatch):
    atoms, _ = make_atoms(case)
    predicted = count_predictions(atoms.calc, monkeypatch)
    hamiltonian = atoms.calc.hamiltonian()
    for kpts in ((2, 2, 1), {"density": 1.0}, [[0, 0, 0]], np.array([1, 1, 1])):
        assert atoms.calc.set(kpts=kpts)
        n = len(atoms.calc.get_ibz_k_points())
        assert len(atoms.calc.get_k_point_weights()) == n
    assert atoms.calc.set(kpts=np.array([1, 1, 1])) == {}
    assert atoms.calc.hamiltonian() is hamiltonian
    assert len(predicted) == 1


@every_case
def test_eigenvalue_getters(case):
    atoms, _ = make_atoms(case, width=300 * BOLTZMANN)
    calc = atoms.calc
    n_electrons = calc.predictor.basis.count_electrons(atoms.numbers)
    kpts, weights = calc.get_ibz_k_points(), calc.get_k_point_weights()
    assert calc.get_number_of_spins() == 1
    assert not calc.get_spin_polarized()
    assert calc.get_eigenvalues(kpt=0).shape == (calc.get_number_of_bands(),)
    assert np.isclose(weights.sum(), 1)
    assert len(weights) == len(kpts)
    electrons = sum(w * calc.get_occupation_numbers(k).sum() for k, w in enumerate(weights))
    # The Fermi level belongs to a finer mesh than kpts, so for a semimetal the count agrees only roughly.
    assert abs(electrons - n_electrons) < (1e-6 if case == "silicon" else 0.3)


@every_case
def test_whole_zone_maps_onto_the_reduced_points(case):
    atoms, _ = make_atoms(case)
    size = (4, 4, 4) if case == "silicon" else (6, 6, 1)
    full, mapping = atoms.calc.get_bz_k_points(), atoms.calc.get_bz_to_ibz_map()
    assert np.allclose(full, monkhorst_pack(size))
    reduced = np.array([atoms.calc.get_eigenvalues(k) for k in mapping])
    assert len(atoms.calc.get_ibz_k_points()) < len(full)
    atoms.calc.set(kpts=full)
    direct = np.array([atoms.calc.get_eigenvalues(k) for k in range(len(full))])
    assert np.abs(direct - reduced).max() < 1e-8
    assert np.array_equal(atoms.calc.get_bz_to_ibz_map(), np.arange(len(full)))


def test_bandgap_of_an_insulator_is_ours():
    atoms, _ = make_atoms("silicon", kpts={"size": (4, 4, 4), "gamma": True})
    gap, (_, valence, _), _ = bandgap(atoms.calc)
    direct, *_ = bandgap(atoms.calc, direct=True)
    ours = atoms.calc.band_gap()
    assert 0 < gap <= direct
    assert np.isclose(gap, ours.gap)
    assert np.isclose(direct, ours.direct_gap)
    assert np.allclose(atoms.calc.get_ibz_k_points()[valence], ours.k_vbm)
    info = GapInfo.fromcalc(atoms.calc)
    assert not info.is_metallic
    assert "Gap" in info.description(ibz_kpoints=atoms.calc.get_ibz_k_points())
    eigenvalues = np.array([[atoms.calc.get_eigenvalues(k) for k in range(len(atoms.calc.get_ibz_k_points()))]])
    assert bandgap(eigenvalues=eigenvalues, efermi=atoms.calc.get_fermi_level())[0] == gap
    middle = (ours.vbm + ours.cbm) / 2
    assert abs(atoms.calc.get_fermi_level() - middle) < 1e-3, "the Fermi level of an insulator is in the middle of its gap"


@every_sheet
def test_bandgap_of_graphene(case):
    """6x6 shifted misses K; the lattice's special points find the touching point and put the level there."""
    atoms, _ = make_atoms(case)
    assert bandgap(atoms.calc)[0] > 0.1
    ours = atoms.calc.band_gap()
    assert ours.kind == "semimetal"
    assert abs(ours.gap) < 1e-3
    assert np.allclose(np.abs(ours.k_direct), [1 / 3, 1 / 3, 0])
    assert abs(atoms.calc.get_fermi_level() - ours.vbm) < 1e-3
    atoms.calc.set(kpts={"size": (3, 3, 1), "gamma": True})
    assert GapInfo.fromcalc(atoms.calc).gap()[0] < 1e-3


@pytest.mark.parametrize("width", [0.1, 0.0])
def test_ase_dos_counts_electrons_and_agrees_with_ours(width):
    atoms, _ = make_atoms("silicon", kpts=(6, 6, 6))
    theirs = DOS(atoms.calc, width=width, npts=3001, window=(-25, 4))
    grid = theirs.get_energies()
    occupied = np.trapezoid(np.where(grid < 0, theirs.get_dos(), 0), grid)
    assert abs(occupied - 8) < 0.05
    # ASE's width is sqrt(2) sigma.
    ours = atoms.calc.dos(grid, width=width / math.sqrt(2))
    assert np.allclose(ours.get_energies(), grid)
    difference = np.abs(np.asarray(ours.get_weights()) - theirs.get_dos())
    # Both interpolate linearly, in different tetrahedra.
    assert difference.max() < 1e-9 if width else np.trapezoid(difference, grid) < 0.8


@every_sheet
@pytest.mark.parametrize("width", [0.1, 0.0])
def test_ase_dos_of_a_sheet(case, width):
    atoms, _ = make_atoms(case)
    dos = DOS(atoms.calc, width=width, npts=2001, window=(-30, 3))
    grid = dos.get_energies()
    assert abs(np.trapezoid(np.where(grid < 0, dos.get_dos(), 0), grid) - 8) < 0.4
