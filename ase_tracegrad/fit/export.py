"""From a finished training run to a model file with its card."""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy
import torch

from .. import __version__
from ..io.store import StoreReader, content_hash
from ..nn.card import ModelCard
from ..nn.checkpoint import save_checkpoint
from ..nn.domain import describe_domain
from .trainer import Trainer

MODEL_FILE = "model.safetensors"


def export_model(trainer: Trainer) -> Path:
    """Write model.safetensors (the averaged weights) into the run's folder; test errors are added by evaluate."""
    config, train = trainer.config, trainer.data["train"]
    with StoreReader(config.data) as store:
        basis, digest = store.basis, content_hash(store)
    first = train[0].sample.info
    card = ModelCard(
        name=config.card.name,
        description=config.card.description,
        elements=trainer.network.elements,
        basis=basis.name,
        code=first.get("version", first.get("code", basis.code)),
        xc=basis.xc,
        cutoff=config.network.cutoff,
        training_set=f"{len(train)} structures, {sum(g.graph.n_onsite for g in train)} atoms, {trainer.epoch} epochs",
        data_sha256=digest,
        label_noise_mev=config.card.label_noise_mev,
        domain=describe_domain((g.graph for g in train), trainer.network.elements, config.network.cutoff),
        versions={
            "ase_tracegrad": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "e3nn": version("e3nn"),
            "numpy": numpy.__version__,
        },
    )
    path = Path(config.out) / MODEL_FILE
    save_checkpoint(path, trainer.average, basis, card)
    return path
