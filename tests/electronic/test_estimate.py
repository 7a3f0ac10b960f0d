import logging

import numpy as np
import pytest

from ase_tracegrad.electronic import eigen, estimate
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.estimate import DENSE_SIZE, estimate_bands, measure_chunk
from ase_tracegrad.electronic.resources import Machine
from tests.electronic.lattice_models import random_model

ALONE = {"vectors": False, "workers": 1, "chunk": 1, "blas_threads": 1}


@pytest.fixture
def always(monkeypatch):
    """Estimates for work however short."""
    monkeypatch.setattr(estimate, "WORTH_SAYING", 0.0)


@pytest.fixture
def rates(monkeypatch):
    """Made-up rates, seconds per k-point; the list of what was asked."""
    asked: list = []

    def measure(route, n, count, real, vectors):
        asked.append((route, n, count, real, vectors))
        return 1.0 if real else 3.0

    monkeypatch.setattr(estimate, "measure_chunk", measure)
    return asked


def test_short_work_is_not_estimated(rates, kpts):
    sums = BlochSum(*random_model())
    assert estimate_bands("torch", sums, kpts, **ALONE) is None
    assert not rates


def test_a_card_is_not_estimated(always, rates, kpts):
    assert estimate_bands("torch on cuda", BlochSum(*random_model()), kpts, **ALONE) is None
    assert not rates


def test_large_matrices_are_counted_as_n_cubed(always, rates, kpts):
    n_atoms = DENSE_SIZE // 4 + 20
    h, _ = random_model(((0, 1),) * n_atoms)
    n = h.n_orbitals
    with_gamma = np.vstack([kpts[:4], [[0, 0, 0]]])
    found = estimate_bands("MKL", BlochSum(h), with_gamma, **ALONE | {"chunk": 3})
    assert rates == [("MKL", DENSE_SIZE, 1, True, False), ("MKL", DENSE_SIZE, 1, False, False)]
    assert found.seconds == pytest.approx((1.0 + 4 * 3.0) * (n / DENSE_SIZE) ** 3)
    assert found.memory == 6 * 3 * 16 * n**2 + 8 * n * 5
    faster = estimate_bands("MKL", BlochSum(h), with_gamma, vectors=True, workers=2, chunk=1, blas_threads=4)
    assert faster.seconds == pytest.approx(found.seconds / 8)
    assert faster.memory == (8 * 2 + 5) * 16 * n**2 + 8 * n * 5


def test_small_matrices_are_measured_as_they_are(always, rates, kpts):
    sums = BlochSum(*random_model())
    found = estimate_bands("torch", sums, kpts, **ALONE | {"chunk": 7})
    assert rates == [("torch", 9, 7, False, False)]
    assert found.seconds > 3.0 * len(kpts), "H(k) and S(k) take time as well"
    assert found.seconds < 3.1 * len(kpts)


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("vectors", [False, True])
def test_rates_are_measured(real, vectors):
    assert 0 < measure_chunk("torch", 12, 3, real, vectors) < 10


def test_the_estimate_is_logged_and_stands_at_the_bar(always, rates, kpts, monkeypatch, caplog):
    bars: list = []
    bar = eigen.tqdm
    monkeypatch.setattr(eigen, "tqdm", lambda **options: bars.append(options) or bar(**options))
    with caplog.at_level(logging.INFO):
        solve_bands(*random_model(), kpts, machine=Machine(threads=1, library="torch"), progress=True)
    assert f"{len(kpts)} k-points of 9 orbitals, torch: about 27 s and" in caplog.text
    assert bars[0]["desc"] == "k-points, about 27 s"
    assert bars[0]["delay"] == 2
