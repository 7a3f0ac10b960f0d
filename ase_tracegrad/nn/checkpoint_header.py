"""The JSON header of a model file: card, basis and configuration, read without torch and without the weights."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .. import __version__
from ..basis import Basis
from ..basis_json import basis_from_json
from ..damage import DAMAGE
from ..models import available_models, find_model
from .card import ModelCard
from .config import NetworkConfig, UnknownKeyError, config_from_dict

FORMAT = "ase_tracegrad-model"
VERSION = 1
CONVENTIONS = {
    "orbital_order": "m = -l..l, no Condon-Shortley phase",
    "block": "<phi_i(0)|H|phi_j(R)>, eV, Angstrom",
    "phase": "exp(+2 pi i k.R)",
}


class CheckpointError(ValueError):
    """A model file that is damaged, foreign or of another version; the message says which."""


def read_header(path) -> tuple[ModelCard, Basis, NetworkConfig]:
    """Card, basis and configuration of a model file, without its weights."""
    with open_model(path, "np") as file:
        return parse_header(path, file.metadata() or {})


def has_checksum(path) -> bool:
    """Whether a model file carries the SHA-256 of what it holds; those of early versions do not."""
    with open_model(path, "np") as file:
        return "sha256" in (file.metadata() or {})


def find_embedded(numbers: Iterable[int]) -> list[str]:
    """Names of the embedded models that know all these atomic numbers."""
    wanted = set(numbers)
    return [name for name in available_models() if wanted <= set(read_header(find_model(name))[0].elements)]


def choose_embedded(numbers: Iterable[int], default: str) -> str:
    """The one embedded model of crystals that knows all these atomic numbers; ``default`` if there is none, or more."""
    found = [name for name in find_embedded(numbers) if not read_header(find_model(name))[2].of_molecules]
    return found[0] if len(found) == 1 else default


@contextmanager
def open_model(path, framework: str) -> Iterator[safe_open]:
    """The open safetensors file, its tensors in a framework, 'pt' or 'np'; CheckpointError if it is damaged."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no model file at {path}")
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file (truncated, damaged or foreign): {error}") from error


def parse_header(path, header: dict[str, str]) -> tuple[ModelCard, Basis, NetworkConfig]:
    """Card, basis and configuration from the header of the model file at ``path``; CheckpointError says what is wrong."""
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
    except DAMAGE as error:  # JSON errors and ConfigError are ValueErrors
        raise CheckpointError(f"{path}: the header is damaged: {type(error).__name__}: {error}") from error
    if conventions != CONVENTIONS:
        raise CheckpointError(f"{path} uses other conventions: expected {CONVENTIONS}, found {conventions}")
    return card, basis, config
