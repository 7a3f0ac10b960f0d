"""One model = one safetensors file: the weights, and in its JSON header the configuration, basis, card and format version.

Nothing in it can run code. Damaged or foreign files are refused with the reason.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save

from ..basis import Basis
from ..basis_json import basis_to_json
from ..replace_file import replace_file
from .backbones import build_network
from .card import ModelCard
from .checkpoint_header import CONVENTIONS, FORMAT, VERSION, CheckpointError, open_model, parse_header
from .config import config_to_dict
from .network import HamiltonianNetwork


def save_checkpoint(path, network: HamiltonianNetwork, basis: Basis, card: ModelCard):
    """Write the model; the file appears only when complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "config": json.dumps(config_to_dict(network.config)),
        "basis": json.dumps(basis_to_json(basis)),
        "card": json.dumps(card.to_json()),
        "conventions": json.dumps(CONVENTIONS),
    }
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replace_file(path) as part:
        part.write_bytes(save(tensors, metadata=header))


def load_checkpoint(path, dtype: torch.dtype) -> tuple[HamiltonianNetwork, Basis, ModelCard]:
    """The network in ``dtype``, its basis and card. Constants are built in float64 before rounding to dtype."""
    with open_model(path, "pt") as file:  # once, so that a file that is replaced meanwhile is not read half and half
        card, basis, config = parse_header(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name).to(dtype) for name in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        # The random weights that are about to be replaced must not advance the caller's generator.
        with torch.random.fork_rng(devices=[]):
            network = build_network(config, basis, card.elements).to(dtype)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: no network can be built from the header: {error}") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit the stored configuration: {error}") from error
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{path}: the weights contain NaN or infinity")
    return network.eval(), basis, card
