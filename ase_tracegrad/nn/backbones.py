"""Which class stands for which backbone of NetworkConfig."""

from ..basis import Basis
from .config import NetworkConfig
from .deeph_e3 import DeepHE3Network
from .network import HamiltonianNetwork
from .qhnet import QHNetNetwork

CLASSES: dict[str, type[HamiltonianNetwork]] = {c.backbone: c for c in (HamiltonianNetwork, DeepHE3Network, QHNetNetwork)}


def build_network(config: NetworkConfig, basis: Basis, elements: list[int]) -> HamiltonianNetwork:
    """The network of a configuration, with random weights; elements: atomic numbers, ascending."""
    return CLASSES[config.backbone](config, basis, elements)
