"""Where the tensors of a training lie."""

import os
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..nn.predictor import choose_device


def choose_training_device(name: str) -> torch.device:
    """The device of this name; 'cuda' in one of torchrun's processes is the card of its own. ValueError if it is not there."""
    return choose_device(f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and "LOCAL_RANK" in os.environ else name)


def to_device(value: Any, device: torch.device) -> Any:
    """The same with every tensor on the device: a tensor, a dataclass or list of them; what holds none stays as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        moved = [to_device(part, device) for part in value]
        return value if all(a is b for a, b in zip(value, moved, strict=True)) else type(value)(moved)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}
        changed = {name: to_device(part, device) for name, part in parts.items()}
        changed = {name: part for name, part in changed.items() if part is not parts[name]}
        return replace(value, **changed) if changed else value
    return value
