import numpy as np
import pytest

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.velocities import HBAR2_OVER_MASS, compute_inverse_masses, compute_velocities
from tests.electronic.lattice_models import graphene_model, random_model

CELL = np.array([[2.0, 0.1, 0], [-0.7, 3.0, 0], [0, 0, 9.0]])


def shifted(kpts, *axes, step):
    """k-points moved by ``step`` (1/Angstrom) along Cartesian axes with signs."""
    return kpts + sum(sign * step * CELL[:, axis] / (2 * np.pi) for axis, sign in axes)


@pytest.mark.parametrize("spinor", [False, True])
def test_velocities_equal_finite_differences(kpts, spinor):
    h, s = random_model(spinor=spinor)
    energies, slopes = compute_velocities(BlochSum(h, s), kpts, CELL)
    assert np.abs(energies - compute_bands(h, s, kpts)).max() < 1e-12
    for axis in range(3):
        plus, minus = (compute_bands(h, s, shifted(kpts, (axis, sign), step=1e-5)) for sign in (1, -1))
        assert np.abs((plus - minus) / 2e-5 - slopes[:, :, axis]).max() < 1e-5


def test_orthonormal_velocities(kpts):
    h, _ = random_model()
    _, slopes = compute_velocities(BlochSum(h, None), kpts, CELL)
    plus, minus = (compute_bands(h, None, shifted(kpts, (0, sign), step=1e-5)) for sign in (1, -1))
    assert np.abs((plus - minus) / 2e-5 - slopes[:, :, 0]).max() < 1e-5


def test_inverse_masses_equal_finite_differences():
    h, s = random_model()
    k, step = np.array([0.13, 0.21, 0.0]), 1e-3
    _energies, inverse = compute_inverse_masses(BlochSum(h, s), k, CELL)
    for a in range(2):
        for b in range(2):
            corners = [shifted(k[None], (a, p), (b, q), step=step) for p in (1, -1) for q in (1, -1)]
            pp, pm, mp, mm = (compute_bands(h, s, c)[0] for c in corners)
            curvature = (pp - pm - mp + mm) / (4 * step**2)
            assert np.abs(curvature / HBAR2_OVER_MASS - inverse[:, a, b]).max() < 1e-3 * np.abs(inverse).max()
    assert not inverse[:, 2, 2].any()


def test_chain_has_the_textbook_mass():
    """E = -2 t cos(k a): 1 / m = 2 t a^2 / hbar^2 at the bottom."""
    t, a = 0.7, 3.0
    layout = OrbitalLayout(((0,),))
    h = BlockMatrix.from_blocks(layout, {(0, 0, (n, 0, 0)): [[-t if n else 0.0]] for n in (-1, 0, 1)})
    energies, inverse = compute_inverse_masses(BlochSum(h, None), [0, 0, 0], a * np.eye(3))
    assert energies == pytest.approx([-2 * t])
    assert inverse[0, 0, 0] == pytest.approx(2 * t * a**2 / HBAR2_OVER_MASS)


def test_degenerate_levels_have_no_mass_of_their_own():
    h, s = graphene_model()
    assert np.isnan(compute_inverse_masses(BlochSum(h, s), [1 / 3, -1 / 3, 0], CELL)[1]).all()
    assert np.isfinite(compute_inverse_masses(BlochSum(h, s), [0, 0, 0], CELL)[1]).all()
    with pytest.raises(ValueError, match=r"\(3, 3\) in Angstrom"):
        compute_velocities(BlochSum(h, s), [[0, 0, 0]], np.eye(2))
    with pytest.raises(ValueError, match="one k-point"):
        compute_inverse_masses(BlochSum(h, s), [[0, 0, 0], [0.5, 0, 0]], CELL)
