import logging

import numpy as np
import pytest
import scipy.linalg
import torch

from ase_tracegrad.electronic import dense
from ase_tracegrad.electronic.dense import TorchLibrary, VerifiedLibrary, solve_chunk
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.resources import Machine
from tests.electronic.lattice_models import random_model


@pytest.fixture
def problem(kpts):
    h, s = random_model()
    return h.bloch(kpts), s.bloch(kpts)


def spoil(monkeypatch, damage):
    """Let every batch of more than two matrices come back damaged, as from a card; the processor redoes less."""
    sound = TorchLibrary.diagonalize

    def diagonalize(self, matrices, vectors):
        energies, coefficients = sound(self, matrices, vectors)
        return damage(energies, coefficients) if len(matrices) > 2 else (energies, coefficients)

    monkeypatch.setattr(TorchLibrary, "diagonalize", diagonalize)


def wrong_energies(energies, coefficients):
    energies[1, 2] += 1e-6
    energies[4] = torch.nan
    return energies, coefficients


def exchanged_energies(energies, coefficients):
    energies[1, 0], energies[1, 1] = energies[1, 0] + 1e-5, energies[1, 1] - 1e-5  # the trace is right, the norm is not
    return energies, coefficients


def wrong_vectors(energies, coefficients):
    if coefficients is not None:
        coefficients[3, :, 0] += 1e-6
        coefficients[5, :, 1] = coefficients[5, :, 0]
    return energies, coefficients


@pytest.mark.parametrize(
    ("damage", "vectors", "redone"),
    [(wrong_energies, False, 2), (wrong_energies, True, 2), (exchanged_energies, False, 1), (wrong_vectors, True, 2)],
)
def test_wrong_results_are_redone(problem, monkeypatch, caplog, damage, vectors, redone):
    expected = solve_chunk(TorchLibrary(), *problem, vectors, 1e-10)
    spoil(monkeypatch, damage)
    library = VerifiedLibrary("cpu")
    with caplog.at_level(logging.WARNING):
        found = solve_chunk(library, *problem, vectors, 1e-10)
    assert library.redone == redone
    assert "solved wrongly" in caplog.text
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours.energies - theirs.energies).max() < 1e-12
        if vectors:
            assert np.abs(np.abs(ours.coefficients) - np.abs(theirs.coefficients)).max() < 1e-9


@pytest.mark.parametrize("vectors", [False, True])
def test_right_results_are_kept(problem, vectors):
    library = VerifiedLibrary("cpu")
    for real in (False, True):
        h, s = (m.real.copy() for m in problem) if real else problem
        solve_chunk(library, (h + h.conj().swapaxes(1, 2)) / 2, (s + s.conj().swapaxes(1, 2)) / 2, vectors, 1e-10)
    assert library.redone == 0


def test_a_batch_that_does_not_converge_is_redone(problem, monkeypatch):
    sound = TorchLibrary.diagonalize

    def diagonalize(self, matrices, vectors):
        if isinstance(self, VerifiedLibrary):
            raise torch.linalg.LinAlgError("did not converge")
        return sound(self, matrices, vectors)

    expected = solve_chunk(TorchLibrary(), *problem, False, 1e-10)
    monkeypatch.setattr(TorchLibrary, "diagonalize", diagonalize)
    library = VerifiedLibrary("cpu")
    found = solve_chunk(library, *problem, False, 1e-10)
    assert library.redone == len(expected)
    assert all(np.array_equal(a.energies, b.energies) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("real", [False, True])
def test_reduction_by_halves(monkeypatch, problem, real):
    h, s = ((m + m.conj().swapaxes(1, 2)) / 2 for m in problem)
    if real:
        h, s = h.real.copy(), s.real.copy()
    expected = [scipy.linalg.eigh(a, b, eigvals_only=True) for a, b in zip(h, s, strict=True)]
    monkeypatch.setattr(dense, "HALVED_ABOVE", 2)
    for vectors in (False, True):
        found = solve_chunk(TorchLibrary(), h, s, vectors, 1e-10)
        assert all(np.abs(a.energies - e).max() < 1e-10 for a, e in zip(found, expected, strict=True))
        for k, at_k in enumerate(found if vectors else []):
            c = at_k.coefficients
            assert np.abs(h[k] @ c - s[k] @ c * at_k.energies).max() < 1e-9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("eigenvectors", [False, True])
def test_a_graphics_card_gives_the_same_states(kpts, eigenvectors):
    h, s = random_model(((0, 1, 2),) * 8, overlap=0.01)
    ours = solve_bands(h, s, kpts, eigenvectors=eigenvectors, machine=Machine(device="cuda"))
    assert ours.report.route.startswith("torch on cuda")
    assert np.abs(ours.energies - solve_bands(h, s, kpts).energies).max() < 1e-10
