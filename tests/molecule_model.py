"""A model of molecules in def2-SVP with the interface of nn.predictor.Predictor: extended Hueckel theory, smooth in the positions."""

from dataclasses import replace

import numpy as np

from ase_tracegrad.io.def2_svp import FUNCTIONAL, def2_svp_basis
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.overlap import compute_overlap

# eV of each shell of def2-SVP: s, s (H), s, s, s, p, p, d (O), from orbital energies of the atoms.
LEVELS = {1: (-13.6, -3.0, 0.0), 8: (-559.0, -34.0, -5.0, -16.0, 0.0, 10.0)}
CARD = ModelCard("hueckel", "formula, for tests", sorted(LEVELS), "def2-SVP", "PySCF", FUNCTIONAL, cutoff=15.0)


class HueckelMolecules:
    """H_ij = 1.75 / 2 (e_i + e_j) S_ij; far from any SCF, so that what depends on that shows. Counts its structures."""

    def __init__(self):
        self.card, self.basis = CARD, def2_svp_basis()
        self.device, self.dtype, self.n_spin = "cpu", "float64", 1
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
