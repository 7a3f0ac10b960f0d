"""Small models of molecules in def2-SVP: Hueckel theory, the two-centre baseline of a few labels, one epoch of QHNet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.build import molecule

from ase_tracegrad.fit.config import TrainingConfig
from ase_tracegrad.fit.export import export_model
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.def2_svp import FUNCTIONAL, def2_svp_basis
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.labels.pyscf import QH9_SETTINGS, PyscfSettings, compute_molecule_labels
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.config import NetworkConfig, config_from_dict
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure

# eV of each shell of def2-SVP: s, s (H), s, s, s, p, p, d (O), from orbital energies of the atoms.
LEVELS = {1: (-13.6, -3.0, 0.0), 8: (-559.0, -34.0, -5.0, -16.0, 0.0, 10.0)}
LAYERS = {"hidden": 8, "lmax": 2, "bottleneck": 6, "n_layers": 1, "n_pair_layers": 1, "n_radial": 8, "message_hidden": 8}
FEW_LAYERS = {"hidden": 4, "lmax": 2, "bottleneck": 3, "n_layers": 2, "n_pair_layers": 1, "n_radial": 6, "message_hidden": 4}
PAIRS = {"H-H": {"shortest": 0.6}, "H-O": {"shortest": 0.8}}
CARD = ModelCard("hueckel", "for tests", sorted(LEVELS), "def2-SVP", "PySCF", FUNCTIONAL, cutoff=10.0, domain={"pairs": PAIRS})


class HueckelMolecules:
    """H_ij = 1.75 / 2 (e_i + e_j) S_ij; far from any SCF, so that what depends on that shows. Counts its structures."""

    def __init__(self):
        self.card, self.basis = CARD, def2_svp_basis()
        self.device, self.dtype, self.n_spin, self.reference = "cpu", "float64", 1, "none"
        self.equivariance = "exact"
        self.seen = 0

    def check(self, structure):
        if not set(structure.numbers.tolist()) <= set(LEVELS):
            raise UnsupportedStructureError(f"hueckel knows {sorted(LEVELS)}, not {structure.numbers}")
        return []

    def predict(self, structures, overlaps=None):
        self.seen += len(structures)
        return [self._hueckel(structure) for structure in structures]

    def _hueckel(self, structure):
        overlap = compute_overlap(structure, self.basis)
        levels = [np.repeat(LEVELS[z], [2 * l + 1 for l in self.basis[z].angular_momenta]) for z in structure.numbers]
        values = np.empty_like(overlap.values)
        for b, (i, j) in enumerate(overlap.pairs):
            mean = (levels[i][:, None] + levels[j]) / 2
            factor = np.where(np.eye(*mean.shape, dtype=bool) & (i == j), 1.0, 1.75)
            values[overlap.offsets[b] : overlap.offsets[b + 1]] = (factor * mean).ravel()
        return replace(overlap, values=values * overlap.values)


def label_by_hueckel(formula: str, seed: int) -> Sample:
    """A displaced molecule of H and O with a Hueckel Hamiltonian as its label; made without PySCF."""
    atoms = molecule(formula)
    atoms.rattle(0.05, seed=seed)
    structure, basis = Structure.from_atoms(atoms), def2_svp_basis()
    (hamiltonian,) = HueckelMolecules().predict([structure])
    info = {"n_electrons": float(atoms.numbers.sum())}
    return Sample(structure, basis, hamiltonian, compute_overlap(structure, basis), info)


def label_waters(folder):
    """A packed file of four displaced waters, real PySCF labels on a coarse grid: two to train, one to validate, one to test."""
    path = folder / "waters.h5"
    with StoreWriter(path) as store:
        for seed, split in enumerate(("train", "train", "validation", "test")):
            atoms = molecule("H2O")
            atoms.rattle(0.03, seed=seed)
            label = compute_molecule_labels(atoms, settings=replace(QH9_SETTINGS, grid_level=0))
            store.add(f"water-{seed}", replace(label, info=label.info | {"split": split}))
    return path


def write_baseline_model(path, data):
    """A model file of the two-centre baseline that a Trainer fits to such a file, its network untrained and silent."""
    network = {"cutoff": 10.0, "message_cutoff": 5.0, "backbone": "qhnet", "qhnet": LAYERS}
    settings = {"data": str(data), "out": str(path.parent / "run"), "validate_bands": 0, "network": network}
    with StoreReader(data) as store:
        basis = store.basis
    trainer = Trainer(config_from_dict(TrainingConfig, settings), basis, [1, 8])
    trainer.network.readout.spread.fill_(1e-3)
    trainer.network.readout.onsite_spread.fill_(1e-3)
    save_checkpoint(path, trainer.network, basis, replace(CARD, name=path.stem))


def write_delta_model(path: Path) -> str:
    """Path of a model file with random weights that predicts H less that of PySCF's initial density; made without PySCF."""
    network = {"backbone": "qhnet", "cutoff": 6.0, "message_cutoff": 6.0, "qhnet": FEW_LAYERS, "reference": "minao"}
    basis = def2_svp_basis()
    delta = build_network(config_from_dict(NetworkConfig, network), basis, [1, 8])
    save_checkpoint(path, delta, basis, replace(CARD, name=path.stem))
    return str(path)


def train_molecule_model(folder: Path) -> str:
    """Path of the model file; needs PySCF, about three seconds."""
    with StoreWriter(folder / "water.h5") as store:
        for seed in range(4):
            atoms = molecule("H2O2" if seed % 2 else "H2O")
            atoms.rattle(0.05, seed=seed)
            label = compute_molecule_labels(atoms, settings=PyscfSettings(grid_level=0))
            info = label.info | {"split": "validation" if seed == 3 else "train"}
            store.add(f"molecule-{seed}", replace(label, basis=def2_svp_basis(), info=info))
    network = {"backbone": "qhnet", "cutoff": 6.0, "message_cutoff": 6.0, "qhnet": FEW_LAYERS}
    network["tracegrad"] = {"hidden": 4, "invariants": 3}
    settings = {"data": str(folder / "water.h5"), "out": str(folder), "network": network, "validate_bands": 0}
    settings |= {"schedule": {"epochs": 1}, "card": {"name": "water", "description": "one epoch, for tests"}}
    trainer = Trainer(config_from_dict(TrainingConfig, settings), def2_svp_basis(), [1, 8])
    trainer.run(progress=False)
    return str(export_model(trainer))
