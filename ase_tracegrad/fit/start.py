"""The weights of a trained model as the beginning of a new run."""

import torch

from ..models import find_model
from ..nn.checkpoint import load_checkpoint
from ..nn.config import config_to_dict
from ..nn.network import HamiltonianNetwork

# What a new network may have although the old one has not: it begins at zero.
OPTIONAL = ("energy_zero.", "refiner.")
MAY_DIFFER = ("energy_zero", "harmose")


def start_from(network: HamiltonianNetwork, model: str):
    """Copy all weights of ``model`` (name or file) into the network; ValueError if it is another network."""
    trained, basis, _ = load_checkpoint(find_model(model), torch.float32)
    if trained.elements != network.elements:
        raise ValueError(f"start: {model} was trained on elements {trained.elements}, the data have {network.elements}")
    if trained.shells.shells != network.shells.shells:
        raise ValueError(f"start: {model} has the shells of {basis.name}, the data have other ones")
    old, new = config_to_dict(trained.config), config_to_dict(network.config)
    different = [f"{key} = {old[key]!r} (here {new[key]!r})" for key in new if key not in MAY_DIFFER and old[key] != new[key]]
    if different:
        raise ValueError(f"start: {model} has other network settings: {'; '.join(different)}")
    missing, unexpected = network.load_state_dict(trained.state_dict(), strict=False)
    left = [name for name in missing if not name.startswith(OPTIONAL)] + unexpected
    if left:
        raise ValueError(f"start: weights of {model} do not fit: {', '.join(left)}")
