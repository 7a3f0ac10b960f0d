"""A model's card gets the limits of its training data again."""

from dataclasses import replace

import pytest

from ase_tracegrad.fit.export import export_model
from ase_tracegrad.nn.checkpoint import load_checkpoint, save_checkpoint
from ase_tracegrad.nn.predictor import DTYPES
from tests.fit.cases import write_store
from tests.fit.test_trainer import make_trainer


@pytest.fixture
def model(tmp_path):
    return export_model(make_trainer(write_store(tmp_path / "data.h5"), tmp_path / "run"))


def test_the_limits_are_those_of_the_training(tmp_path, model, script):
    network, basis, card = load_checkpoint(model, DTYPES["float32"])
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_checkpoint(model, network, basis, replace(card, domain={"pairs": {}}))
    script("renew_domain").renew(model, tmp_path / "data.h5")
    found, _, renewed = load_checkpoint(model, DTYPES["float32"])
    assert card.domain["pairs"]
    assert renewed == card
    assert all((tensor == weights[name]).all() for name, tensor in found.state_dict().items())


def test_other_data_are_refused(tmp_path, model, script):
    network, basis, card = load_checkpoint(model, DTYPES["float32"])
    save_checkpoint(model, network, basis, replace(card, data_sha256="0" * 64))
    with pytest.raises(ValueError, match=r"is not what .* was trained on: expected sha256 000"):
        script("renew_domain").renew(model, tmp_path / "data.h5")
