import numpy as np
import pytest
import torch

from ase_tracegrad.harmonics import real_spherical_harmonics, shell_rotation
from ase_tracegrad.nn.wigner import edge_rotations

LMAX = 8
GENERIC = np.random.default_rng(0).normal(size=(20, 3)) * np.geomspace(1e-3, 1e3, 20)[:, None]
POLES = np.array([[0, 0, 1.0], [0, 0, -1], [0, 0, 3], [0, 0, -0.2], [1e-20, 0, 1], [0, -1e-17, -2]])
NEAR_POLES = np.array([[1e-3, 0, 1], [1e-8, -1e-8, 1], [0, 1e-12, -1], [1e-14, 1e-14, 1.0]])
AXES = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [1, 1, 0]])
POLE = np.array([0, 0, 1.0])


@pytest.mark.parametrize("vectors", [GENERIC, POLES, NEAR_POLES, AXES], ids=["generic", "poles", "near-poles", "axes"])
def test_rotations_turn_the_harmonics_of_the_pole_into_those_of_the_edge(vectors):
    for l, d in enumerate(edge_rotations(torch.from_numpy(vectors), LMAX)):
        assert d.shape == (len(vectors), 2 * l + 1, 2 * l + 1)
        assert np.abs(d.numpy() @ real_spherical_harmonics(l, POLE) - real_spherical_harmonics(l, vectors)).max() < 1e-12


@pytest.mark.parametrize("vectors", [GENERIC, POLES, NEAR_POLES, AXES], ids=["generic", "poles", "near-poles", "axes"])
def test_rotations_are_orthogonal(vectors):
    for l, d in enumerate(edge_rotations(torch.from_numpy(vectors), LMAX)):
        assert (d @ d.transpose(1, 2) - torch.eye(2 * l + 1, dtype=d.dtype)).abs().max() < 1e-12


def test_all_degrees_represent_one_and_the_same_rotation():
    """D_1 read as a rotation of space must give every other D_l; a wrong sign of one m would break this."""
    vectors = np.concatenate([GENERIC, POLES, NEAR_POLES, AXES])
    rotations = [d.numpy() for d in edge_rotations(torch.from_numpy(vectors), LMAX)]
    to_xyz = np.array([2, 0, 1])  # the p shell is (y, z, x)
    for row in range(len(vectors)):
        space = rotations[1][row][np.ix_(to_xyz, to_xyz)]
        assert np.linalg.det(space) == pytest.approx(1, abs=1e-12)
        for l in range(LMAX + 1):
            assert np.abs(rotations[l][row] - shell_rotation(l, space)).max() < 1e-11


def test_degree_zero_and_no_edges():
    assert edge_rotations(torch.zeros(0, 3, dtype=torch.float64), 3)[3].shape == (0, 7, 7)
    only_scalar = edge_rotations(torch.from_numpy(GENERIC), 0)
    assert len(only_scalar) == 1
    assert (only_scalar[0] - 1).abs().max() < 1e-14


def test_single_precision_is_as_good_as_its_digits():
    exact = edge_rotations(torch.from_numpy(GENERIC), 6)
    rounded = edge_rotations(torch.from_numpy(GENERIC).float(), 6)
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.float32
        assert (a - b).abs().max() < 2e-5
