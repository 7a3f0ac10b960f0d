"""One model = one safetensors file: the weights, and in its JSON header the configuration, basis, card and format version.

Nothing in it can run code. Damaged or foreign files are refused with the reason.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save

from ..basis import Basis
from ..basis_json import basis_to_json
from ..damage import DAMAGE
from ..replace_file import replace_file
from .allocation import AllocationLimit
from .backbones import build_network
from .card import ModelCard
from .checkpoint_header import CONVENTIONS, FORMAT, VERSION, CheckpointError, open_model, parse_header
from .config import config_to_dict
from .network import HamiltonianNetwork

LARGEST_GROWTH = 100  # bytes handled while the network is built per byte of its file; more than 10 were not seen


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
    header["sha256"] = _hash(header, tensors)
    with replace_file(path) as part:
        part.write_bytes(save(tensors, metadata=header))


def load_checkpoint(path, dtype: torch.dtype) -> tuple[HamiltonianNetwork, Basis, ModelCard]:
    """The network in ``dtype``, its basis and card. Constants are built in float64 before rounding to dtype."""
    with open_model(path, "pt") as file:  # once, so that a file that is replaced meanwhile is not read half and half
        card, basis, config = parse_header(path, file.metadata() or {})
        header = file.metadata()
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        tensors = {name: tensor.to(dtype) for name, tensor in stored.items()}
    depth = max(config.n_blocks, config.deeph_e3.n_blocks, config.qhnet.n_layers, config.harmose.n_blocks)
    if depth > len(stored):
        raise CheckpointError(f"{path}: the weights do not fit the stored configuration: {depth} blocks, {len(stored)} tensors")
    try:
        # The random weights that are about to be replaced must not advance the caller's generator.
        with torch.random.fork_rng(devices=[]), AllocationLimit(LARGEST_GROWTH * Path(path).stat().st_size + 10**9):
            network = build_network(config, basis, card.elements).to(dtype)
    except (*DAMAGE, RuntimeError) as error:
        raise CheckpointError(f"{path}: no network can be built from the header: {error}") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit the stored configuration: {error}") from error
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{path}: the weights contain NaN or infinity")
    if "sha256" in header and header["sha256"] != _hash(header, stored):  # files of earlier versions have none
        raise CheckpointError(f"{path}: weights or settings are not those that were saved (wrong SHA-256): fetch the file again")
    return network.eval(), basis, card


def _hash(header: dict[str, str], tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of all that decides a prediction: settings, basis and weights, not the card."""
    digest = hashlib.sha256("\0".join(header[key] for key in ("config", "basis", "conventions")).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
