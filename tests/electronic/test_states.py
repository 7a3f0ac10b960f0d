import logging

import numpy as np
import pytest
import scipy.linalg

from ase_tracegrad.electronic import estimate, states
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochError, BlochSum
from ase_tracegrad.electronic.estimate import Estimate, count_factor
from ase_tracegrad.electronic.nearest import solve_nearest
from ase_tracegrad.electronic.resources import Machine, ProblemTooLargeError
from ase_tracegrad.electronic.states import solve_states
from tests.electronic.lattice_models import random_model


@pytest.mark.parametrize("method", ["auto", "dense", "window"])
@pytest.mark.parametrize("overlapping", [False, True])
def test_the_same_states_by_every_method(kpts, method, overlapping):
    h, s = random_model(((0, 1),) * 8, overlap=0.01)
    s = s if overlapping else None
    kpts = np.vstack([kpts[:2], [[0.5, 0, 0]]])
    found = solve_states(h, s, kpts, 0.4, 6, method=method)
    bands = compute_bands(h, s, kpts)
    nearest = np.take_along_axis(bands, np.sort(np.argsort(np.abs(bands - 0.4), axis=1)[:, :6], axis=1), axis=1)
    assert np.abs(found.energies - nearest).max() < 1e-9
    overlap = np.eye(32) if s is None else s.bloch(kpts)
    c = found.coefficients
    assert np.abs(h.bloch(kpts) @ c - overlap @ c * found.energies[:, None]).max() < 1e-8
    assert np.abs(c.conj().swapaxes(1, 2) @ overlap @ c - np.eye(6)).max() < 1e-8
    assert found.residuals.max() < 1e-8
    assert (found.route == "dense") == (method != "window")
    assert found.estimates[0].route == ("window" if method == "window" else "dense")


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("n_states", [1, 5, 30])
def test_nearest_equals_scipy(real, n_states):
    rng = np.random.default_rng(2)
    a = rng.normal(size=(30, 30)) + (0 if real else 1j * rng.normal(size=(30, 30)))
    h, s = a + a.conj().T, a @ a.conj().T / 30 + np.eye(30)
    energies, c = solve_nearest(h.copy(), s.copy(), 0.3, n_states)
    expected = scipy.linalg.eigvalsh(h, s)
    assert np.abs(energies - np.sort(expected[np.argsort(np.abs(expected - 0.3))[:n_states]])).max() < 1e-12
    assert np.abs(h @ c - s @ c * energies).max() < 1e-12
    assert np.abs(c.conj().T @ s @ c - np.eye(n_states)).max() < 1e-12


def test_an_overlap_without_factor_is_refused():
    with pytest.raises(BlochError, match="not positive definite"):
        solve_nearest(np.eye(3), np.diag([1.0, 1.0, -0.1]), 0.0, 1)


def test_the_faster_method_that_fits_is_chosen_and_logged(monkeypatch, caplog):
    h, s = random_model(((0, 1),) * 8, overlap=0.01)
    monkeypatch.setattr(states, "DENSE_UP_TO", 0)
    times = {"dense": 1.0, "window": 2.0}
    memory = {"dense": 1e6, "window": 1e6}
    monkeypatch.setattr(states, "estimate_dense", lambda *_: Estimate("dense", times["dense"], memory["dense"]))
    monkeypatch.setattr(states, "estimate_window", lambda *_: Estimate("window", times["window"], memory["window"]))
    solve = lambda **options: solve_states(h, s, [[0.1, 0.2, 0]], 0.0, 3, machine=Machine(memory=1e8), **options)  # noqa: E731
    with caplog.at_level(logging.INFO):
        assert solve().route == "dense"
    assert "dense: about 1 s" in caplog.text
    assert "window: about 2 s" in caplog.text
    times["window"] = 0.5
    assert solve().estimates[0].route == "window"
    memory["window"] = 1e9
    assert solve().route == "dense"
    memory["dense"] = 1e9
    with pytest.raises(ProblemTooLargeError, match="GiB may be used"):
        solve()
    with pytest.raises(ValueError, match="auto, dense or window"):
        solve(method="sparse")
    with pytest.raises(ValueError, match="a window holds"):
        solve_states(h, s, [[0, 0, 0]], 0.0, 32)


def test_the_count_is_that_of_an_elimination():
    """Of the pattern of two models the factor is counted by eliminating number by number in the same order of atoms."""
    full, _ = random_model(((0, 1),) * 5)  # all atoms are coupled: the factor is a full triangle of 4 x 4 blocks
    stored, multiplications, elements = count_factor(full, None)
    widths = 4.0 * np.arange(5, 0, -1)
    assert stored == (4 * widths).sum()
    assert multiplications == (4 * widths**2).sum()
    assert elements == 400
    alone = full.cut(full.pairs[:, 0] == full.pairs[:, 1])
    assert count_factor(alone, None) == (5 * 16.0, 5 * 64.0, 80.0)
    assert count_factor(alone, full.cut(full.pairs[:, 0] != full.pairs[:, 1])) == (stored, multiplications, elements)


def test_estimates_grow_as_they_must():
    estimate.measure_dense.cache_clear()
    sums = [BlochSum(random_model(((0, 1, 2),) * n)[0]) for n in (10, 40)]
    dense = [estimate.estimate_dense(s, 4, 1) for s in sums]
    assert dense[1].seconds == pytest.approx(64 * dense[0].seconds)
    assert estimate.estimate_dense(sums[0], 8, 2).seconds == pytest.approx(dense[0].seconds)
    window = [estimate.estimate_window(s, n, 4, "torch") for s, n in ((sums[0], 1), (sums[0], 3), (sums[1], 1))]
    assert window[1].seconds == pytest.approx(3 * window[0].seconds)
    assert window[2].seconds > 10 * window[0].seconds
    assert 0 < window[0].seconds < 60
    assert "GiB" in str(window[0])
