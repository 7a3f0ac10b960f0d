import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ase_tracegrad.conventions import E3NN_AXES
from ase_tracegrad.harmonics import gaunt_coefficients, real_spherical_harmonics, shell_rotation

DEGREES = range(7)


@st.composite
def orthogonal_matrices(draw):
    """Rotations, half of them times an inversion."""
    rotation = Rotation.random(random_state=draw(st.integers(0, 10**6))).as_matrix()
    return -rotation if draw(st.booleans()) else rotation


@pytest.mark.parametrize("l", DEGREES)
def test_orthonormal_on_the_sphere(l):
    for other in DEGREES:
        overlap = gaunt_coefficients(l, other, 0)[..., 0] * np.sqrt(4 * np.pi)
        expected = np.eye(2 * l + 1) if other == l else np.zeros((2 * l + 1, 2 * other + 1))
        assert np.abs(overlap - expected).max() < 1e-13


def test_first_harmonics_written_out():
    v = np.random.default_rng(0).normal(size=(10, 3))
    x, y, z = (v / np.linalg.norm(v, axis=1, keepdims=True)).T
    p = np.sqrt(3 / (4 * np.pi)) * np.stack([y, z, x], axis=1)
    d = np.sqrt(15 / (4 * np.pi)) * np.stack([x * y, y * z, (3 * z**2 - 1) / np.sqrt(12), x * z, (x**2 - y**2) / 2], axis=1)
    assert np.abs(real_spherical_harmonics(1, v) - p).max() < 1e-14
    assert np.abs(real_spherical_harmonics(2, v) - d).max() < 1e-14


def test_a_zero_vector_points_along_z():
    assert np.array_equal(real_spherical_harmonics(3, np.zeros(3)), real_spherical_harmonics(3, [0, 0, 2.0]))


@pytest.mark.parametrize("l", DEGREES)
@given(q=orthogonal_matrices())
def test_rotated_directions(l, q):
    v = np.random.default_rng(1).normal(size=(7, 3))
    d = shell_rotation(l, q)
    assert np.abs(real_spherical_harmonics(l, v @ q.T) - real_spherical_harmonics(l, v) @ d.T).max() < 1e-12
    assert np.abs(d @ d.T - np.eye(2 * l + 1)).max() < 1e-12


@given(a=orthogonal_matrices(), b=orthogonal_matrices(), l=st.sampled_from(DEGREES))
def test_rotations_form_a_group(a, b, l):
    assert np.abs(shell_rotation(l, a @ b) - shell_rotation(l, a) @ shell_rotation(l, b)).max() < 1e-11


@pytest.mark.parametrize("l", DEGREES)
def test_inversion_gives_the_parity(l):
    assert np.abs(shell_rotation(l, -np.eye(3)) - (-1) ** l * np.eye(2 * l + 1)).max() < 1e-12


@pytest.mark.parametrize("l", DEGREES)
def test_rotation_is_that_of_e3nn(l):
    q = Rotation.from_rotvec([0.3, -1.1, 0.6]).as_matrix()
    axes = list(E3NN_AXES)
    theirs = o3.Irrep(l, 1).D_from_matrix(torch.from_numpy(q[np.ix_(axes, axes)])).numpy()
    assert np.abs(theirs - shell_rotation(l, q)).max() < 1e-6  # e3nn's own matrices hold to single precision


@pytest.mark.parametrize("bad", [np.eye(3) * 1.1, np.eye(2), np.full((3, 3), np.nan)])
def test_a_matrix_that_does_not_rotate_is_refused(bad):
    with pytest.raises(ValueError, match="orthogonal 3x3"):
        shell_rotation(1, bad)


@given(l1=st.sampled_from(DEGREES), l2=st.sampled_from(DEGREES))
def test_gaunt_coefficients_expand_products(l1, l2):
    v = np.random.default_rng(2).normal(size=(11, 3))
    product = real_spherical_harmonics(l1, v)[:, :, None] * real_spherical_harmonics(l2, v)[:, None, :]
    total = sum(
        np.einsum("abc,nc->nab", gaunt_coefficients(l1, l2, l3), real_spherical_harmonics(l3, v))
        for l3 in range(abs(l1 - l2), l1 + l2 + 1, 2)
    )
    assert np.abs(product - total).max() < 1e-12


@given(l=st.tuples(*[st.integers(0, 6)] * 3), q=orthogonal_matrices())
def test_gaunt_coefficients_are_invariant_and_obey_the_selection_rules(l, q):
    g = gaunt_coefficients(*l)
    turned = np.einsum("abc,xa,yb,zc->xyz", g, *[shell_rotation(x, q) for x in l])
    assert np.abs(turned - g).max() < 1e-11
    allowed = sum(l) % 2 == 0 and abs(l[0] - l[1]) <= l[2] <= l[0] + l[1]
    assert (np.abs(g).max() > 1e-3) == allowed
