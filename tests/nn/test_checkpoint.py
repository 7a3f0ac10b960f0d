"""One file per model; damaged and foreign files are refused with the reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ase_tracegrad import __version__
from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, Shell
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import load_checkpoint, save_checkpoint
from ase_tracegrad.nn.checkpoint_header import CheckpointError, read_header
from ase_tracegrad.nn.config import config_to_dict
from ase_tracegrad.nn.predictor import Predictor
from tests.nn.synthetic import make_predictor

CARD = ModelCard(
    "tiny",
    "random weights",
    [1, 6],
    "one Gaussian",
    "none",
    "PBE",
    4.0,
    training_set="3 structures",
    errors={"displaced": {"mae_all": 0.251, "band_rmse": 2.5}},
    label_noise_mev=0.3,
    domain={"pairs": {"C-C": {"shortest": 1.3}}},
    versions={"torch": "2.13"},
)


def make_gaussian_basis() -> Basis:
    """The same shells as the synthetic network, with radial functions."""
    atoms = {}
    for z, ls in {1: (0, 0, 1), 6: (0, 1, 0, 2)}.items():
        shells = tuple(Shell(l, GaussianRadial(l, np.array([0.7, 1.3]) * (k + 1), np.array([1.0, -0.2]))) for k, l in enumerate(ls))
        atoms[z] = AtomicBasis(z, ls, shells, min(z, 4.0))
    return Basis(atoms, "one Gaussian", "none", "PBE")


@pytest.fixture(scope="module")
def network():
    """float32, as trained."""
    return make_predictor((1, 6), dtype=torch.float32).network


@pytest.fixture
def model_file(tmp_path, network):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, network, make_gaussian_basis(), CARD)
    return path


def rewrite(path, *, header=(), tensors=()):
    """The same file with some header entries and tensors changed; None deletes."""
    with safe_open(path, framework="pt") as file:
        new_header = file.metadata() | dict(header)
        new_tensors = {name: file.get_tensor(name) for name in file.keys()} | dict(tensors)  # noqa: SIM118
    save_file(
        {k: v for k, v in new_tensors.items() if v is not None},
        path,
        metadata={k: v for k, v in new_header.items() if v is not None},
    )


def test_round_trip_is_exact(model_file, network, hydrocarbon):
    loaded, basis, card = load_checkpoint(model_file, torch.float32)
    assert card == CARD
    assert loaded.config == network.config
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert basis[6].shells[1].radial(1.3) == make_gaussian_basis()[6].shells[1].radial(1.3)
    assert (basis.name, basis.xc, basis[1].valence) == ("one Gaussian", "PBE", 1.0)
    before, after = (Predictor(n, basis, card).predict([hydrocarbon])[0] for n in (network, loaded))
    assert np.array_equal(before.values, after.values)


def test_double_precision_keeps_exact_constants(model_file, hydrocarbon):
    """Only the trained numbers were rounded; couplings and norms are as in a network built in float64."""
    network, _, _ = load_checkpoint(model_file, torch.float64)
    assert network.readout.coupling.dtype == torch.float64
    gram = network.readout.coupling @ network.readout.coupling.T
    assert (gram - torch.eye(len(gram), dtype=torch.float64)).abs().max() < 1e-14


def test_header_without_weights(model_file):
    card, basis, config = read_header(model_file)
    assert card.name == "tiny"
    assert sorted(basis.atoms) == [1, 6]
    assert config.cutoff == 4.0


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model file at .*nowhere"):
        load_checkpoint(tmp_path / "nowhere.safetensors", torch.float32)


@pytest.mark.parametrize("kept", [0, 5, 200, 0.5, 0.999])
def test_truncated(model_file, kept):
    content = model_file.read_bytes()
    model_file.write_bytes(content[: kept if kept == int(kept) else int(kept * len(content))])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(model_file, torch.float32)


def test_not_a_safetensors_file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("Dear model,\n" * 100)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(path, torch.float32)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": "pt"}, "is not an ase_tracegrad model .*'pt'"),
        ({"format": None}, "is not an ase_tracegrad model .*None"),
        ({"version": "99"}, "has format version 99, this program reads 1"),
        ({"conventions": json.dumps({"phase": "exp(-2 pi i k.R)"})}, "uses other conventions"),
        ({"conventions": None}, "the header is damaged: KeyError: 'conventions'"),
        ({"card": "{"}, "the header is damaged"),
        ({"card": json.dumps({"name": "x"})}, "the header is damaged: TypeError"),
        ({"card": json.dumps([3])}, "the header is damaged"),
        ({"config": json.dumps({"cutoff": "far"})}, "the header is damaged: ConfigError: cutoff must be a number"),
        ({"config": json.dumps({"hidden": "much"})}, "no network can be built from the header: cannot read the irreps"),
        ({"basis": json.dumps({"atoms": {}})}, "the header is damaged"),
        (
            {"basis": json.dumps({"atoms": {}, "name": "", "code": "", "xc": ""})},
            "no network can be built .*no orbitals for element 1",
        ),
        ({"config": json.dumps({"n_blocks": 1})}, "the weights do not fit the stored configuration"),
    ],
)
def test_wrong_headers(model_file, header, message):
    rewrite(model_file, header=header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(model_file, torch.float32)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ({"card": json.dumps(CARD.to_json() | {"colour": 3, "versions": {"ase_tracegrad": "7.1"}})}, "'colour' in the card"),
        (
            {
                "config": json.dumps({"tracegrad": {"depth": 2}}),
                "card": json.dumps(CARD.to_json() | {"versions": {"ase_tracegrad": "7.1"}}),
            },
            "unknown key 'tracegrad.depth'",
        ),
    ],
)
def test_keys_of_a_later_version(model_file, header, key):
    rewrite(model_file, header=header)
    with pytest.raises(
        CheckpointError, match=rf"newer ase_tracegrad \(version 7\.1; this is {__version__}\), update yours:.*{key}"
    ):
        read_header(model_file)


def test_loading_leaves_the_random_numbers_alone(model_file):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_checkpoint(model_file, torch.float32)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(model_file, network, value):
    weight = network.state_dict()["offsite_head.weight_natural"].clone()
    weight[0, 0] = value
    rewrite(model_file, tensors={"offsite_head.weight_natural": weight})
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        load_checkpoint(model_file, torch.float32)


@pytest.mark.parametrize(
    "tensors", [{"atom_embedding.weight": None}, {"atom_embedding.weight": torch.zeros(7, 6)}, {"more": torch.zeros(1)}]
)
def test_weights_that_do_not_fit(model_file, tensors):
    rewrite(model_file, tensors=tensors)
    with pytest.raises(CheckpointError, match="the weights do not fit the stored configuration"):
        load_checkpoint(model_file, torch.float32)


def test_what_is_not_what_was_saved(model_file, network):
    """The same shapes, other numbers: only the hash can tell. Models of earlier versions have none."""
    weight = network.state_dict()["offsite_head.weight_natural"].clone()
    weight[0, 0] += 1e-3
    rewrite(model_file, tensors={"offsite_head.weight_natural": weight})
    with pytest.raises(CheckpointError, match=r"not those that were saved \(wrong SHA-256\)"):
        load_checkpoint(model_file, torch.float32)
    rewrite(model_file, header={"sha256": None})
    load_checkpoint(model_file, torch.float32)


def test_settings_that_are_not_those_saved(model_file):
    _, _, config = read_header(model_file)
    rewrite(model_file, header={"config": json.dumps(config_to_dict(replace(config, message_scale=2.0)))})
    with pytest.raises(CheckpointError, match="wrong SHA-256"):
        load_checkpoint(model_file, torch.float32)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"config": json.dumps({"hidden": "1000000x0e+1000000x1o"})}, r"more than \d\.\d GB"),
        ({"config": json.dumps({"n_blocks": 10**9})}, "1000000000 blocks"),
        ({"config": json.dumps({"cutoff": float("nan")})}, "cutoff must be a number"),
        ({"card": "[" * 100_000}, "the header is damaged: RecursionError"),
        ({"card": json.dumps(CARD.to_json() | {"errors": {"test": "small"}})}, "the errors of the card must be"),
        ({"card": json.dumps(CARD.to_json() | {"elements": ["C"]})}, "must be atomic numbers"),
        ({"card": json.dumps(CARD.to_json() | {"domain": 3})}, "domain of the card must be of type dict"),
        ({"basis": json.dumps({"atoms": {"1": {"angular_momenta": [10**9]}}})}, "the header is damaged"),
    ],
)
def test_headers_that_ask_for_the_impossible(model_file, header, message):
    """Refused before anything large is made, and without an error of another kind."""
    rewrite(model_file, header=header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(model_file, torch.float32)


def test_card_prints_what_matters():
    assert CARD.line == "tiny: random weights [PBE, one Gaussian, none]"
    text = str(CARD)
    for part in ("tiny", "H C", "PBE", "4.00 Angstrom", "3 structures", "0.3 meV", "displaced", "0.25", "2.50"):
        assert part in text
    table = text.splitlines()[-1].split()
    assert table == ["displaced", "0.25", "2.50", "-"]  # no maximum was measured
    assert "test errors" not in str(replace(CARD, errors={}))


def test_card_is_plain_data():
    assert ModelCard.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD
