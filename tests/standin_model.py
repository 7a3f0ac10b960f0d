"""A small exact model with the interface of nn.predictor.Predictor: extended Hueckel theory.

H_ij(R) = K/2 (e_i + e_j) S_ij(R) (R. Hoffmann, J. Chem. Phys. 39, 1397 (1963)), on s and p orbitals.
Diamond and silicon are insulators, graphene a semimetal, methane a molecule; no network is needed.
"""

from dataclasses import replace

import numpy as np

from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, Shell
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure

WOLFSBERG_HELMHOLZ = 1.75
# Energy (eV) and Gaussian exponent (1/Angstrom^2) by shell, valence electrons.
ELEMENTS = {
    1: ({0: (-13.6, 0.9)}, 1),
    6: ({0: (-21.4, 1.4), 1: (-11.4, 1.4)}, 4),
    14: ({0: (-17.3, 0.6), 1: (-9.2, 0.6)}, 4),
}


def make_basis() -> Basis:
    atoms = {}
    for number, (shells, valence) in ELEMENTS.items():
        radials = [GaussianRadial(l, np.array([a]), np.ones(1), tolerance=1e-4) for l, (_, a) in shells.items()]
        atoms[number] = AtomicBasis(number, tuple(shells), tuple(Shell(r.l, r) for r in radials), float(valence))
    return Basis(atoms, name="one-Gaussian", code="extended Hueckel", xc="none")


CARD = ModelCard("stand-in", "extended Hueckel for tests", list(ELEMENTS), "one-Gaussian", "formula", "none", cutoff=6.0)


class StandInPredictor:
    """Counts its forward passes; ``largest_batch`` makes bigger ones run out of memory; ``out_of_domain`` warns."""

    def __init__(self, *, largest_batch: int | None = None, out_of_domain: str | None = None):
        self.card, self.basis = CARD, make_basis()
        self.device, self.dtype, self.n_spin, self.equivariance = "cpu", "float64", 1, "exact"
        self.largest_batch, self.out_of_domain = largest_batch, out_of_domain
        self.batches: list[int] = []

    def check(self, structure: Structure) -> list[str]:
        unknown = sorted(set(structure.numbers.tolist()) - set(self.card.elements))
        if unknown:
            raise UnsupportedStructureError(f"stand-in knows no element {unknown}; it knows {list(self.card.elements)}")
        return [self.out_of_domain] if self.out_of_domain else []

    def predict(self, structures, overlaps=None):
        if self.largest_batch is not None and len(structures) > self.largest_batch:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        self.batches.append(len(structures))
        return [self._hueckel(structure) for structure in structures]

    def _hueckel(self, structure: Structure):
        overlap = compute_overlap(structure, self.basis)
        energies = [
            np.repeat([e for e, _ in ELEMENTS[z][0].values()], [2 * l + 1 for l in ELEMENTS[z][0]]) for z in structure.numbers
        ]
        values = np.empty_like(overlap.values)
        for b, (i, j) in enumerate(overlap.pairs):
            block = slice(overlap.offsets[b], overlap.offsets[b + 1])
            mean = (energies[i][:, None] + energies[j][None, :]) / 2
            onsite = i == j and not overlap.shifts[b].any()
            factor = np.where(np.eye(*mean.shape, dtype=bool), 1.0, WOLFSBERG_HELMHOLZ) if onsite else WOLFSBERG_HELMHOLZ
            values[block] = (factor * mean).ravel() * overlap.values[block]
        return replace(overlap, values=values)
