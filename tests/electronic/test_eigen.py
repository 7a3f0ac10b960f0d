from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.linalg
import torch

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochError
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.resources import Machine, ProblemTooLargeError
from ase_tracegrad.electronic.space_group import spin_rotation
from ase_tracegrad.electronic.symmetry import reverse_time
from tests.electronic.lattice_models import random_model


@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_equal_to_scipy(kpts, spinor, threads):
    h, s = random_model(spinor=spinor)
    kpts = np.vstack([kpts, [[0, 0, 0], [0.5, 0, 0]]])
    solution = solve_bands(h, s, kpts, eigenvectors=True, machine=Machine(threads=threads))
    overlap = s.bloch(kpts)
    if spinor:
        overlap = np.kron(np.eye(2)[None], overlap)
    for k, (hk, sk) in enumerate(zip(h.bloch(kpts), overlap, strict=True)):
        c, e = solution.coefficients[k], solution.energies[k]
        assert np.abs(e - scipy.linalg.eigh(hk, sk, eigvals_only=True)).max() < 1e-11
        assert np.abs(c.conj().T @ sk @ c - np.eye(len(e))).max() < 1e-11
        assert np.abs(hk @ c - sk @ c * e).max() < 1e-10
    assert solution.report.n_real == (0 if spinor else 2)
    assert not solution.report.dropped.any()


def test_orthonormal_orbitals(kpts):
    h, _ = random_model()
    assert np.abs(compute_bands(h, None, kpts) - np.linalg.eigvalsh(h.bloch(kpts))).max() < 1e-12


def test_thread_settings_are_restored(kpts):
    before = torch.get_num_threads()
    solve_bands(*random_model(), kpts, machine=Machine(threads=2))
    assert torch.get_num_threads() == before


def test_solvers_in_several_threads_at_once(kpts):
    before = torch.get_num_threads()
    h, s = random_model()
    expected = compute_bands(h, s, kpts)
    with ThreadPoolExecutor(4) as pool:
        for bands in pool.map(lambda _: solve_bands(h, s, kpts, machine=Machine(threads=2)).energies, range(12)):
            assert np.abs(bands - expected).max() < 1e-12
    assert torch.get_num_threads() == before


def test_graphene_closed_form(graphene, kpts):
    f = np.abs(1 + np.exp(-2j * np.pi * kpts[:, 0]) + np.exp(-2j * np.pi * kpts[:, 1]))
    exact = np.sort([-2.7 * f / (1 + 0.1 * f), 2.7 * f / (1 - 0.1 * f)], axis=0).T
    assert np.abs(compute_bands(*graphene, kpts) - exact).max() < 1e-12


@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize("mu", [-0.7, 13.08])
def test_gauge_and_periodicity(kpts, spinor, mu):
    """H + mu S is H with another zero of energy; k + G is k."""
    h, s = random_model(spinor=spinor)
    bands = compute_bands(h, s, kpts)
    both = s if not spinor else BlockMatrix.from_blocks(s.layout, {k: np.kron(np.eye(2), b) for k, b in s.items()}, "spinor")
    shifted = solve_bands(h + mu * both, s, kpts, eigenvectors=True)
    assert np.abs(shifted.energies - mu - bands).max() < 1e-11
    assert np.abs(compute_bands(h, s, kpts + np.array([1, -2, 3])) - bands).max() < 1e-11
    before, after = (solve_bands(h, s, k, eigenvectors=True).coefficients for k in (kpts, kpts + np.array([0, 1, 0])))
    overlap = np.kron(np.eye(h.n_spin), s.bloch(kpts[:1])[0])
    assert np.abs(np.abs(before[0].conj().T @ overlap @ after[0]) - np.eye(h.n_orbitals)).max() < 1e-8, "the same states"


def test_time_reversal(kpts):
    """Real matrices: E(-k) = E(k); spinors that time reversal leaves alone: the same, and pairs at k = -k."""
    h, s = random_model()
    assert np.abs(compute_bands(h, s, -kpts) - compute_bands(h, s, kpts)).max() < 1e-11
    h, s = random_model(spinor=True)
    h = 0.5 * (h + reverse_time(h))
    assert np.abs(compute_bands(h, s, -kpts) - compute_bands(h, s, kpts)).max() < 1e-11
    pairs = compute_bands(h, s, [[0, 0, 0], [0.5, 0.5, 0]])
    assert np.abs(pairs[:, ::2] - pairs[:, 1::2]).max() < 1e-11


@pytest.mark.parametrize("spinor", [False, True])
def test_a_rotated_crystal_has_the_same_bands(kpts, spinor):
    """Blocks turned with their orbitals and spins: D H D^+ at the same fractional k."""
    h, s = random_model(((0, 1, 2), (0, 3)), spinor=spinor, overlap=0.02)
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]

    def turn(matrix):
        turns = [matrix.layout.rotation(a, rotation) for a in range(2)]
        if matrix.n_spin == 2:
            turns = [np.kron(spin_rotation(rotation), d) for d in turns]
        blocks = {(i, j, r): turns[i] @ block @ turns[j].conj().T for (i, j, r), block in matrix.items()}
        return BlockMatrix.from_blocks(matrix.layout, blocks, matrix.spin)

    assert np.abs(compute_bands(turn(h), turn(s), kpts) - compute_bands(h, s, kpts)).max() < 1e-10


def near_singular_model(smallest: float):
    """Three orbitals, S with one eigenvalue ``smallest``; H = X^T diag(-1, 0, 2) X with S = X^T X."""
    rng = np.random.default_rng(3)
    modes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    root = np.diag(np.sqrt([1.5, 0.8, smallest])) @ modes.T
    layout = OrbitalLayout(((0, 0, 0),))
    home = (0, 0, (0, 0, 0))
    h, s = root.T @ np.diag([-1.0, 0.0, 2.0]) @ root, root.T @ root
    return BlockMatrix.from_blocks(layout, {home: (h + h.T) / 2}), BlockMatrix.from_blocks(layout, {home: (s + s.T) / 2})


def test_ghost_states_appear_and_vanish():
    h, s = near_singular_model(3.7e-8)
    assert np.abs(compute_bands(h, s, [[0, 0, 0]]) - [[-1, 0, 2]]).max() < 1e-6
    noise = np.random.default_rng(0).normal(size=(3, 3)) * 1e-3
    noisy = BlockMatrix(h.layout, h.pairs, h.shifts, h.values + ((noise + noise.T) / 2).ravel())
    assert np.abs(compute_bands(noisy, s, [[0, 0, 0]])).max() > 1e3
    cured = solve_bands(noisy, s, [[0, 0, 0], [0.2, 0.1, 0]], hamiltonian_error=1e-3, eigenvectors=True)
    assert cured.energies.shape == (2, 2)
    assert cured.coefficients.shape == (2, 3, 2)
    assert np.abs(cured.energies - [-1, 0]).max() < 5e-3
    assert cured.report.dropped.tolist() == [1, 1]
    assert "dropped" in str(cured.report)


def test_an_indefinite_overlap_is_refused():
    h, s = random_model(overlap=0.6)
    with pytest.raises(BlochError, match="not positive definite"):
        compute_bands(h, s, [[0.1, 0.2, 0.0]])


def test_too_large_is_refused_before_it_starts(kpts):
    with pytest.raises(ProblemTooLargeError, match="GiB may be used"):
        solve_bands(*random_model(), kpts, machine=Machine(memory=1000))


def test_bad_options_are_refused(kpts):
    with pytest.raises(ValueError, match="hamiltonian_error"):
        solve_bands(*random_model(), kpts, hamiltonian_error=-1.0)
    with pytest.raises(ValueError, match="at least one thread"):
        solve_bands(*random_model(), kpts, machine=Machine(threads=0))
