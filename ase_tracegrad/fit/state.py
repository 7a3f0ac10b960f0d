"""state.pt: everything a run needs to go on bit-exactly, written atomically and refused where it does not fit."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..nn.config import ConfigError, config_from_dict, config_to_dict
from ..nn.torch_files import TORCH_DAMAGE
from ..replace_file import replace_file
from .config import TrainingConfig

STATE_FILE, CONFIG_FILE = "state.pt", "config.json"
# What may change between two parts of a run without changing what is learned: folders may move (the labels are compared, and
# the weights of the state replace those of 'start'), and where and how the work is done is not part of the result.
MAY_CHANGE = ("data", "out", "start", "device", "memory_gb", "tensorboard")


def prepare_folder(out: Path, *, resume: bool):
    """Make the folder of a run, before its data are read, which may take long.

    FileNotFoundError if there is nothing to resume, ValueError if the folder holds a run that is not resumed, OSError if it
    cannot be made.
    """
    if resume:
        _find_state(out)
    elif (out / STATE_FILE).exists():
        raise ValueError(f"{out} holds another run: continue it with --resume, or choose another 'out'")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"out: the folder {out} cannot be made ({error.strerror}): choose another with --set out=FOLDER") from error
    if not os.access(out, os.W_OK):
        raise PermissionError(f"out: nothing can be written to the folder {out}: choose another with --set out=FOLDER")


def _find_state(out: Path) -> Path:
    if not (out / STATE_FILE).is_file():
        raise FileNotFoundError(f"nothing to resume: no {out / STATE_FILE}")
    return out / STATE_FILE


def write_state(out: Path, state: dict[str, Any], config: TrainingConfig, labels: str):
    """Write state.pt; labels: hash of what is learned (see dataset.labels_hash)."""
    content = io.BytesIO()  # torch fails on a full disk in ways that cannot be told apart
    torch.save(state | {"labels": labels, "config": json.dumps(config_to_dict(config))}, content)
    with replace_file(out / STATE_FILE) as part:
        part.write_bytes(content.getbuffer())


def read_state(out: Path, config: TrainingConfig, labels: str) -> dict[str, Any]:
    """The state of a run with the same settings and labels.

    FileNotFoundError if there is none, OSError if it cannot be read, ValueError if it is damaged or belongs to another run.
    """
    path = _find_state(out)
    content = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:  # torch does not look at the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        content.seek(0)
        state = torch.load(content, map_location="cpu", weights_only=True)
        before, same_labels = json.loads(state["config"]), state["labels"] == labels
    except (*TORCH_DAMAGE, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged, start the run anew: {error}") from error
    _check_settings(path, before, config)
    if not same_labels:
        raise ValueError(f"{path} was trained on other labels than {config.data} holds now: start anew in another 'out'")
    return state


def check_finished(out: Path, config: TrainingConfig):
    """ValueError if the finished run in this folder had other settings, OSError if it says nothing of them."""
    path = out / CONFIG_FILE
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged, start the run anew: {error}") from error
    _check_settings(path, before, config)


def _check_settings(path: Path, found: dict, config: TrainingConfig):
    try:
        # A run of an older version does not name settings that came later; it was trained with their defaults.
        before = _flatten(config_to_dict(config_from_dict(TrainingConfig, found)))
    except ConfigError as error:
        raise ValueError(f"{path} has settings that this version does not know, start the run anew: {error}") from error
    now = _flatten(config_to_dict(config))
    changed = [key for key in sorted(now) if key not in MAY_CHANGE and before[key] != now[key]]
    if changed:
        listed = "; ".join(f"{key} = {before[key]!r} (now {now[key]!r})" for key in changed)
        raise ValueError(f"{path} was written with other settings: {listed}. Use the same configuration, or another 'out'")


def _flatten(config: dict, prefix: str = "") -> dict:
    flat: dict = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
