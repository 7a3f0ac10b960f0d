"""Spinor blocks as four real matrices: time reversal, adjoint, rotation of the spin."""

import numpy as np
import torch
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from ase_tracegrad.nn.spin import from_components, to_components, transpose_components

SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])  # x, y, z
THETA = 1j * SIGMA[1]  # time reversal is this, times complex conjugation


def random_components(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_four_matrices_are_those_of_the_docstring():
    components = random_components(4, 3, 5)
    h_0, h_y, h_z, h_x = components.numpy()
    expected = np.kron(np.eye(2), h_0) + 1j * sum(np.kron(s, h) for s, h in zip(SIGMA, (h_x, h_y, h_z), strict=True))
    assert np.abs(from_components(components).numpy() - expected).max() < 1e-15


def test_there_and_back():
    components = random_components(7, 4, 3, 5)
    assert (to_components(from_components(components)) - components).abs().max() < 1e-15


def test_they_are_all_that_time_reversal_allows():
    """Theta X Theta^-1 = X of what is kept, and the rest of any complex block is odd."""
    rng = np.random.default_rng(0)
    block = rng.normal(size=(6, 10)) + 1j * rng.normal(size=(6, 10))
    kept = from_components(to_components(torch.from_numpy(block))).numpy()

    def reverse(x):
        return np.kron(THETA, np.eye(3)) @ x.conj() @ np.kron(THETA, np.eye(5)).conj().T

    assert np.abs(reverse(kept) - kept).max() < 1e-14
    assert np.abs(reverse(block - kept) + (block - kept)).max() < 1e-14
    assert np.abs(kept - (block + reverse(block)) / 2).max() < 1e-14


def test_adjoint():
    components = random_components(4, 3, 5)
    adjoint = from_components(transpose_components(components)).numpy()
    assert np.abs(adjoint - from_components(components).numpy().conj().T).max() == 0


def test_the_vector_turns_as_a_p_shell_when_the_spin_turns():
    """U H U^+ with U = exp(-i a n.sigma / 2) turns (h_y, h_z, h_x) by the rotation of the orbitals y, z, x."""
    rotation = Rotation.random(random_state=4)
    components = random_components(4, 2, 2)
    spin = np.kron(expm(-0.5j * np.einsum("c,cab->ab", rotation.as_rotvec(), SIGMA)), np.eye(2))
    turned = to_components(torch.from_numpy(spin @ from_components(components).numpy() @ spin.conj().T)).numpy()
    order = [1, 2, 0]
    matrix = rotation.as_matrix()[np.ix_(order, order)]
    assert np.abs(turned[0] - components[0].numpy()).max() < 1e-14
    assert np.abs(turned[1:] - np.einsum("cd,dab->cab", matrix, components[1:].numpy())).max() < 1e-14
