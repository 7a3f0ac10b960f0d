"""From a finished training run to a model file with its card."""

import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy
import torch

from .. import __version__
from ..io.store import StoreReader, content_hash
from ..nn.card import ModelCard
from ..nn.checkpoint import save_checkpoint
from ..nn.domain import describe_domain
from ..nn.predictor import Predictor
from .equivariance import measure_equivariance
from .trainer import Trainer

MODEL_FILE = "model.safetensors"
TURNED = 4  # validation structures on which a second stage's error of equivariance is measured


def export_model(trainer: Trainer) -> Path:
    """Write model.safetensors (the averaged weights) into the run's folder; test errors are added by evaluate.

    The card of a model with a second stage (HarmoSE) says by how much it misses equivariance, on validation structures.
    """
    config, train = trainer.config, trainer.data["train"]
    with StoreReader(config.data) as store:
        basis, digest = store.basis, content_hash(store)
    first = train[0].sample.info
    code = str(first.get("version", first.get("code", basis.code)))
    if "version" in first and basis.code not in code:
        code = f"{basis.code} {code}"
    epochs = f"{trainer.epoch} epochs" + (" of the second stage" if config.network.harmose.n_blocks else "")
    card = ModelCard(
        name=config.card.name,
        description=config.card.description,
        elements=trainer.network.elements,
        basis=basis.name,
        code=code,
        xc=basis.xc,
        cutoff=config.network.cutoff,
        training_set=f"{len(train)} structures, {sum(g.graph.n_onsite for g in train)} atoms, {epochs}",
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
    predictor = Predictor(trainer.average, basis, card, device=trainer.device)
    if predictor.refine:
        validation = trainer.data["validation"]
        chosen = [graph.sample for graph in validation.in_order(range(min(TURNED, len(validation))))]
        card = replace(card, equivariance=measure_equivariance(predictor, chosen))
    path = Path(config.out) / MODEL_FILE
    save_checkpoint(path, trainer.average, basis, card)
    return path
