"""The embedded MoS2 model: what symmetry demands, what is known of the monolayer, and its card."""

import numpy as np
import pytest
from ase.build import graphene, mx2

from ase_tracegrad import TraceGradCalculator, available_models, compute_bands
from ase_tracegrad.models import FOLDER
from ase_tracegrad.nn.domain import UnsupportedStructureError


@pytest.fixture(scope="module")
def calc():
    return TraceGradCalculator("mos2-pbe")


def monolayer(a: float = 3.18):
    atoms = mx2("MoS2", a=a, thickness=3.13, vacuum=7.5)
    atoms.pbc = True
    return atoms


@pytest.mark.parametrize(("scale", "expected"), [(0.985, 1.91), (1.0, 1.7244), (1.015, 1.47)])
def test_gap_against_lattice_constant(calc, scale, expected):
    """PBE without spin-orbit coupling: direct at K when compressed, from Gamma to K when stretched.

    CP2K finds 1.960, 1.853, 1.724, 1.548 and 1.383 eV at 0.98, 0.99, 1, 1.01 and 1.02 of 3.18 Angstrom; interpolated here.
    """
    gap = calc.band_gap(atoms=monolayer(3.18 * scale), kpts=(6, 6, 1))
    assert gap.kind == "insulator"
    assert gap.gap == pytest.approx(expected, abs=0.03)
    top = np.abs(gap.k_vbm[:2])
    assert np.abs(np.abs(gap.k_cbm[:2] % 1 - 0.5) - 1 / 6).max() < 1e-3
    assert (np.abs(np.abs(gap.k_vbm[:2] % 1 - 0.5) - 1 / 6).max() if scale < 1 else top.max()) < 1e-3


def test_degenerate_levels_of_the_point_group(calc):
    """D3h at Gamma: pairs of states, exact for an equivariant network, whatever its errors."""
    atoms = monolayer()
    energies = compute_bands(calc.hamiltonian(atoms), calc.overlap(atoms), [[0, 0, 0]])[0]
    steps = np.diff(energies)
    # E' and E'' once for each p shell of Mo, twice for each d shell, and twice as often for the two S.
    assert (steps < 1e-4).sum() == 2 * 1 + 2 * 2 + 2 * (2 * 1 + 1 * 2)
    assert ((steps > 1e-4) & (steps < 1e-3)).sum() == 0, "a pair is split"


def test_supercell_has_the_bands_of_the_primitive_cell(calc):
    primitive = monolayer()
    mesh = [[i / 2, j / 2, 0] for i in range(2) for j in range(2)]
    supercell = primitive * (2, 2, 1)
    folded = np.sort(compute_bands(calc.hamiltonian(primitive), calc.overlap(primitive), mesh), axis=None)
    direct = compute_bands(calc.hamiltonian(supercell), calc.overlap(supercell), [[0, 0, 0]])[0]
    assert np.abs(direct - folded)[:50].max() < 1e-3


def test_graphene_asks_for_the_other_model(calc):
    with pytest.raises(UnsupportedStructureError, match="not C: choose graphene-pbe"):
        calc.hamiltonian(graphene(vacuum=5.0))


def test_card():
    assert "mos2-pbe" in available_models()
    card = TraceGradCalculator("mos2-pbe").predictor.card
    for test in ("displaced 2x2", "displaced 3x3", "primitive cell, strained", "primitive cell, more vacuum"):
        assert card.errors[test]["band_rmse"] < 15
        assert card.errors[test]["gap_error"] < 15
    assert card.label_noise_mev > 0
    assert card.data_sha256
    assert (FOLDER / "mos2-pbe.safetensors").stat().st_size < 5e6
