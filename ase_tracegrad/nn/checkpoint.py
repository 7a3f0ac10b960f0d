"""One model = one safetensors file: the weights, and in its JSON header the configuration, basis, card and format version.

Nothing in it can run code. Damaged or foreign files are refused with the reason.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .. import __version__
from ..basis import Basis
from ..basis_json import basis_from_json, basis_to_json
from ..replace_file import replace_file
from .card import ModelCard
from .config import NetworkConfig, UnknownKeyError, config_from_dict, config_to_dict
from .network import HamiltonianNetwork

FORMAT = "ase_tracegrad-model"
VERSION = 1
CONVENTIONS = {
    "orbital_order": "m = -l..l, no Condon-Shortley phase",
    "block": "<phi_i(0)|H|phi_j(R)>, eV, Angstrom",
    "phase": "exp(+2 pi i k.R)",
}


class CheckpointError(ValueError):
    """A model file that is damaged, foreign or of another version; the message says which."""


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


def read_header(path) -> tuple[ModelCard, Basis, NetworkConfig]:
    """Card, basis and configuration of a model file, without its weights."""
    with _open(path) as file:
        return _parse_header(path, file.metadata() or {})


@contextmanager
def _open(path) -> Iterator[safe_open]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no model file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file (truncated, damaged or foreign): {error}") from error


def _parse_header(path, header: dict[str, str]) -> tuple[ModelCard, Basis, NetworkConfig]:
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not an ase_tracegrad model (its header says {header.get('format')!r})")
    if header.get("version") != str(VERSION):
        raise CheckpointError(
            f"{path} has format version {header.get('version')}, this program reads {VERSION}: use the ase_tracegrad that wrote it"
        )
    try:
        conventions = json.loads(header["conventions"])
        facts = json.loads(header["card"])
        card, basis = ModelCard.from_json(facts), basis_from_json(json.loads(header["basis"]))
        config = config_from_dict(NetworkConfig, json.loads(header["config"]))
    except UnknownKeyError as error:
        versions = facts.get("versions")
        writer = versions.get("ase_tracegrad", "unknown") if isinstance(versions, dict) else "unknown"
        raise CheckpointError(
            f"{path} was written by a newer ase_tracegrad (version {writer}; this is {__version__}), update yours: {error}"
        ) from error
    except (KeyError, TypeError, ValueError) as error:  # JSON errors and ConfigError are ValueErrors
        raise CheckpointError(f"{path}: the header is damaged: {type(error).__name__}: {error}") from error
    if conventions != CONVENTIONS:
        raise CheckpointError(f"{path} uses other conventions: expected {CONVENTIONS}, found {conventions}")
    return card, basis, config


def load_checkpoint(path, dtype: torch.dtype) -> tuple[HamiltonianNetwork, Basis, ModelCard]:
    """The network in ``dtype``, its basis and card. Constants are built in float64 before rounding to dtype."""
    with _open(path) as file:  # once, so that a file that is replaced meanwhile is not read half and half
        card, basis, config = _parse_header(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name).to(dtype) for name in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        # The random weights that are about to be replaced must not advance the caller's generator.
        with torch.random.fork_rng(devices=[]):
            network = HamiltonianNetwork(config, basis, card.elements).to(dtype)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: no network can be built from the header: {error}") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit the stored configuration: {error}") from error
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{path}: the weights contain NaN or infinity")
    return network.eval(), basis, card
