"""Block Lanczos against the spectra that matrices were built with."""

import numpy as np
import pytest
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse import csc_array

from ase_tracegrad.electronic import block_lanczos
from ase_tracegrad.electronic.block_lanczos import BLOCK, NoConvergenceError, find_nearest_states


def matrices(levels) -> tuple[csc_array, csc_array]:
    """H and a positive S whose energies are ``levels``."""
    rng, n = np.random.default_rng(3), len(levels)
    mix = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)) + 2 * np.sqrt(n) * np.eye(n)
    return csc_array(mix.conj().T @ np.diag(levels) @ mix), csc_array(mix.conj().T @ mix)


def nearest(levels, shift: float, n_states: int) -> np.ndarray:
    h, s = matrices(levels)
    factors = lu_factor((h - shift * s).toarray())
    energies, c = find_nearest_states(h, s, lambda right: lu_solve(factors, right), shift, n_states)
    assert np.abs(c.conj().T @ (s @ c) - np.eye(n_states)).max() < 1e-9
    assert np.abs(h @ c - (s @ c) * energies).max() < 1e-6
    return np.sort(energies)


@pytest.mark.parametrize("n_states", [1, 5, 30])
def test_spread_levels(n_states):
    levels = np.random.default_rng(0).uniform(-10, 10, 300)
    expected = np.sort(levels[np.argsort(np.abs(levels - 0.3))[:n_states]])
    assert np.abs(nearest(levels, 0.3, n_states) - expected).max() < 1e-9


@pytest.mark.parametrize("multiplicity", [BLOCK // 2, BLOCK, 3 * BLOCK])
def test_no_state_of_a_degenerate_level_is_missed(multiplicity):
    """Also of one with more states than a block has columns; the farthest level is cut by the window."""
    levels = np.concatenate([np.full(multiplicity, 0.5), np.full(multiplicity, -1.0), np.linspace(2, 30, 250)])
    n_states = multiplicity + multiplicity // 2
    energies = nearest(levels, 0.0, n_states)
    assert np.abs(energies[-multiplicity:] - 0.5).max() < 1e-9
    assert np.abs(energies[:-multiplicity] + 1.0).max() < 1e-9


def test_a_start_that_lacks_the_nearest_state():
    """The start has no part along it, exactly, and neither has what follows from the start; the look for missed states has."""
    levels = np.linspace(0.1, 20, 120)
    calls = []

    def solve(right: np.ndarray) -> np.ndarray:
        calls.append(right.shape)
        solution = right / levels[:, None]
        if len(calls) == 1:
            solution[0] = 0
        return solution

    energies, _ = find_nearest_states(csc_array(np.diag(levels)), csc_array(np.eye(120)), solve, 0.0, 6)
    assert np.abs(np.sort(energies) - levels[:6]).max() < 1e-9


@pytest.mark.parametrize("n", [3, BLOCK, BLOCK + 1, 40])
def test_all_of_a_small_matrix(n):
    levels = np.linspace(-1, 2, n)
    assert np.abs(nearest(levels, 0.07, n - 1) - np.delete(levels, np.argmax(np.abs(levels - 0.07)))).max() < 1e-9


def test_one_level_alone():
    """Every vector is a state: the iteration has nothing to add, and must not end in a division by zero."""
    assert np.abs(nearest(np.full(40, 1.5), 0.0, 10) - 1.5).max() < 1e-9


def test_too_few_steps_are_said(monkeypatch):
    monkeypatch.setattr(block_lanczos, "MAX_STEPS", 2)
    with pytest.raises(NoConvergenceError, match=r"of 30 states .* were found in 2 steps"):
        nearest(np.random.default_rng(0).uniform(-10, 10, 300), 0.3, 30)
