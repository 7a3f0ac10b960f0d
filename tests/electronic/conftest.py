"""Models and k-points that several tests of this folder use."""

import numpy as np
import pytest

from ase_tracegrad.structure import Structure
from tests.electronic.lattice_models import graphene_model


@pytest.fixture
def graphene():
    return graphene_model()


@pytest.fixture
def graphene_structure() -> Structure:
    a = 2.46
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 15.0]])
    fractional = np.array([[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])
    return Structure([6, 6], fractional @ cell, cell, [True, True, False])


@pytest.fixture
def kpts():
    return np.random.default_rng(7).uniform(-0.5, 0.5, size=(9, 3)) * [1, 1, 0]
