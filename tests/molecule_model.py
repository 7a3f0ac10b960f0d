"""A QHNet model of H and O, trained for one epoch on PySCF labels made here: a model of molecules in all but its quality."""

from dataclasses import replace
from pathlib import Path

from ase.build import molecule

from ase_tracegrad.fit.config import TrainingConfig
from ase_tracegrad.fit.export import export_model
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.def2_svp import def2_svp_basis
from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.labels.pyscf import PyscfSettings, compute_molecule_labels
from ase_tracegrad.nn.config import config_from_dict

LAYERS = {"hidden": 4, "lmax": 2, "bottleneck": 3, "n_layers": 2, "n_pair_layers": 1, "n_radial": 6, "message_hidden": 4}


def train_molecule_model(folder: Path) -> str:
    """Path of the model file; needs PySCF, about three seconds."""
    with StoreWriter(folder / "water.h5") as store:
        for seed in range(4):
            atoms = molecule("H2O2" if seed % 2 else "H2O")
            atoms.rattle(0.05, seed=seed)
            label = compute_molecule_labels(atoms, settings=PyscfSettings(grid_level=0))
            info = label.info | {"split": "validation" if seed == 3 else "train"}
            store.add(f"molecule-{seed}", replace(label, basis=def2_svp_basis(), info=info))
    network = {"backbone": "qhnet", "cutoff": 6.0, "message_cutoff": 6.0, "qhnet": LAYERS}
    network["tracegrad"] = {"hidden": 4, "invariants": 3}
    settings = {"data": str(folder / "water.h5"), "out": str(folder), "network": network, "validate_bands": 0}
    settings |= {"schedule": {"epochs": 1}, "card": {"name": "water", "description": "one epoch, for tests"}}
    trainer = Trainer(config_from_dict(TrainingConfig, settings), def2_svp_basis(), [1, 8])
    trainer.run(progress=False)
    return str(export_model(trainer))
