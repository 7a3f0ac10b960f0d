"""Predictors with random weights, and structures they know."""

import numpy as np
import pytest

from ase_tracegrad.nn.predictor import Predictor
from ase_tracegrad.structure import Structure
from tests.nn.synthetic import make_predictor


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """All four elements, f and g shells."""
    return make_predictor()


@pytest.fixture(scope="session")
def light_predictor() -> Predictor:
    """Hydrogen and carbon only: fast."""
    return make_predictor((1, 6))


@pytest.fixture
def crystal() -> Structure:
    """Four different atoms in a skewed cell that is periodic along two axes."""
    cell = np.array([[3.1, 0.2, 0.1], [-1.2, 2.9, 0.3], [0.2, 0.1, 7.0]])
    positions = [[0.1, 0.2, 0.3], [1.6, 0.4, 0.9], [0.4, 1.5, 1.4], [1.4, 1.9, -0.6]]
    return Structure([58, 1, 6, 22], positions, cell, [True, True, False])


@pytest.fixture
def hydrocarbon() -> Structure:
    """C2H in a skewed cell, periodic along all axes."""
    cell = np.array([[3.0, 0.2, 0.1], [-1.2, 2.9, 0.3], [0.2, 0.1, 3.6]])
    return Structure([6, 6, 1], [[0.1, 0.2, 0.3], [1.4, 0.5, 0.7], [0.5, 1.5, 1.5]], cell, [True, True, True])
