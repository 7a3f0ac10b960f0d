"""The weights of a trained model as the beginning of a new run."""

import torch

from ..models import find_model
from ..nn.checkpoint import load_checkpoint
from ..nn.config import config_to_dict
from ..nn.network import HamiltonianNetwork

# What a new network may have although the old one has not: it begins at zero.
OPTIONAL = ("energy_zero.", "refiner.")


def start_from(network: HamiltonianNetwork, model: str) -> bool:
    """Copy all weights of ``model`` (name or file) into the network; whether a second stage of HarmoSE was among them.

    ValueError if it is another network.
    """
    trained, basis, _ = load_checkpoint(find_model(model), torch.float32)
    if trained.elements != network.elements:
        raise ValueError(f"start: {model} was trained on elements {trained.elements}, the data have {network.elements}")
    if trained.shells.shells != network.shells.shells:
        raise ValueError(f"start: {model} has the shells of {basis.name}, the data have other ones")
    old, new = config_to_dict(trained.config), config_to_dict(network.config)
    may_differ = ("energy_zero", "harmose") if trained.refiner is None else ("energy_zero",)
    different = [f"{key} = {old[key]!r} (here {new[key]!r})" for key in new if key not in may_differ and old[key] != new[key]]
    if different:
        raise ValueError(f"start: {model} has other network settings: {'; '.join(different)}")
    missing, unexpected = network.load_state_dict(trained.state_dict(), strict=False)
    left = [name for name in missing if not name.startswith(OPTIONAL)] + unexpected
    if left:
        raise ValueError(f"start: weights of {model} do not fit: {', '.join(left)}")
    return trained.refiner is not None
