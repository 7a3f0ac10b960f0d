"""One model file in several processes: the same answers as in one. Threads: tests/nn/test_predictor.py."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ase_tracegrad.structure import Structure

torch = pytest.importorskip("torch")


def chain(k: int) -> Structure:
    """C2H, displaced a little."""
    cell = np.array([[3.0, 0.2, 0.1], [-1.2, 2.9, 0.3], [0.2, 0.1, 3.6]])
    positions = np.array([[0.1, 0.2, 0.3], [1.4, 0.5, 0.7], [0.5, 1.5, 1.5]])
    return Structure([6, 6, 1], positions * (1 + 0.004 * k), cell, [True, True, True])


def predict(path: str, k: int) -> np.ndarray:
    """H of one of the chains; runs in worker processes too."""
    from ase_tracegrad.nn.predictor import load_model

    return load_model(path, device="cpu").predict([chain(k)])[0].values


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    from ase_tracegrad.nn.checkpoint import save_checkpoint
    from tests.nn.synthetic import make_predictor

    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    predictor = make_predictor((1, 6), dtype=torch.float32, n_blocks=1)
    save_checkpoint(path, predictor.network, predictor.basis, predictor.card)
    return path


def test_four_processes(model_file):
    """The fork server imports torch once for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ase_tracegrad.nn.predictor"])
    with ProcessPoolExecutor(4, context) as pool:
        together = list(pool.map(predict, [str(model_file)] * 8, range(8)))
    for k, values in enumerate(together):
        assert np.abs(values - predict(str(model_file), k)).max() < 1e-5  # BLAS may sum in another order
