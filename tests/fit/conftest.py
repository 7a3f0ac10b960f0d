"""What all tests of the training share."""

import pytest
import torch

from tests.fit.cases import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A packed file of four chains: two to train, one to validate, one to test."""
    return write_store(tmp_path_factory.mktemp("data") / "chains.h5")


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in a fixed order, and no fight for cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
