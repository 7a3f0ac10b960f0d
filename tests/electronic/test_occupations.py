import numpy as np
import pytest

from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.occupations import SMEARINGS, ElectronCountError, compute_occupations, fill_bands, find_fermi_level

INSULATOR = np.array([[-3.0, -1.0, 2.0, 4.0], [-2.5, -0.5, 1.5, 5.0]])
HALVES = np.array([0.5, 0.5])
WIDTHS = {method: 0.0 if method == "fixed" else 0.05 for method in SMEARINGS}


@pytest.mark.parametrize("method", SMEARINGS)
def test_middle_of_the_gap(method):
    level = find_fermi_level(INSULATOR, HALVES, 4, method=method, width=WIDTHS[method])
    assert abs(level - 0.5) < 1e-12
    occupations = compute_occupations(INSULATOR, level, method=method, width=WIDTHS[method])
    assert np.abs(occupations - [2, 2, 0, 0]).max() < 1e-4


def test_spinor_bands_hold_one_electron():
    assert abs(find_fermi_level(INSULATOR, HALVES, 2, spin_degeneracy=1) - 0.5) < 1e-12
    assert compute_occupations(INSULATOR, 0.5, spin_degeneracy=1).max() == 1.0


@pytest.mark.parametrize("method", [m for m in SMEARINGS if m != "fixed"])
@pytest.mark.parametrize("n_electrons", [0.3, 1.0, 2.2, 3.9])
def test_metal_holds_its_electrons(graphene, method, n_electrons):
    mesh = make_mesh((12, 12, 1))
    energies = compute_bands(*graphene, mesh.kpts)
    level = find_fermi_level(energies, mesh.weights, n_electrons, width=0.1, method=method)
    occupations = compute_occupations(energies, level, width=0.1, method=method)
    assert abs(mesh.weights @ occupations.sum(axis=1) - n_electrons) < 1e-9


def test_half_filled_band_is_symmetric():
    k = np.arange(100) / 100
    energies = -2 * np.cos(2 * np.pi * k)[:, None]
    assert abs(find_fermi_level(energies, np.full(100, 0.01), 1, method="fermi-dirac", width=0.05)) < 1e-10
    assert abs(find_fermi_level(energies, np.full(100, 0.01), 1)) < 0.1


def test_graphene_level_is_at_the_dirac_point(graphene):
    mesh = make_mesh((6, 6, 1), gamma=True)  # holds K
    energies = compute_bands(*graphene, mesh.kpts)
    assert abs(find_fermi_level(energies, mesh.weights, 2)) < 1e-9


def test_all_states_filled():
    assert find_fermi_level(INSULATOR, HALVES, 8) == 5.0


@pytest.mark.parametrize("n_electrons", [0, -2, np.nan, 8.1])
def test_impossible_counts_are_refused(n_electrons):
    with pytest.raises(ElectronCountError):
        find_fermi_level(INSULATOR, HALVES, n_electrons)


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="no width"):
        find_fermi_level(INSULATOR, HALVES, 4, width=0.1)
    with pytest.raises(ValueError, match="positive width"):
        compute_occupations(INSULATOR, 0.0, method="gaussian")
    with pytest.raises(ValueError, match="unknown smearing"):
        compute_occupations(INSULATOR, 0.0, method="cold", width=0.1)
    with pytest.raises(ValueError, match="spin_degeneracy"):
        find_fermi_level(INSULATOR, HALVES, 4, spin_degeneracy=3)
    with pytest.raises(ValueError, match="add up"):
        find_fermi_level(INSULATOR, [1.0, 1.0], 4)
    with pytest.raises(ValueError, match="finite"):
        find_fermi_level(INSULATOR * np.nan, HALVES, 4)


def test_occupations_hold_the_electrons_exactly():
    k = np.arange(10) / 10
    energies = -2 * np.cos(2 * np.pi * k)[:, None]
    weights = np.full(10, 0.1)
    for n_electrons in (0.3, 1.0, 1.7, 2.0):
        level, occupations = fill_bands(energies, weights, n_electrons)
        assert abs(weights @ occupations[:, 0] - n_electrons) < 1e-12
        assert occupations.min() >= 0
        assert occupations.max() <= 2
        assert level == find_fermi_level(energies, weights, n_electrons)
