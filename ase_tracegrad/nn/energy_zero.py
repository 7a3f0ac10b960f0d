"""EnergyZero: where the energies of a periodic crystal start.

Codes that solve for the Hartree potential with plane waves set its average over the cell to zero. What is local
to an atom is its potential against the vacuum. Between the two stands the second moment of the charge, a sum over
atoms divided by the volume Omega of the cell (L. Kleinman, Phys. Rev. B 24, 7412 (1981)):
    H(R) = H_local(R) + mu S(R),   mu = sum_i q_i / Omega,
with q_i in eV Angstrom^3 a property of the surroundings of atom i. Without this term a model must guess the volume of
the whole cell from the surroundings of one atom; with it, more vacuum in the cell shifts the bands as it should.
"""

import torch
from torch import Tensor, nn

from .batch import GraphBatch


class EnergyZero(nn.Module):
    """mu of every structure, eV; zero where the structure is not periodic in three directions (Omega is infinite).

    moment (n_elements,): mean q of each element, fitted by fit/targets.py; the head adds what the surroundings change.
    """

    moment: Tensor

    def __init__(self, n_elements: int, n_scalars: int):
        super().__init__()
        self.register_buffer("moment", torch.zeros(n_elements))
        self.head = nn.Linear(n_scalars, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, scalars: Tensor, batch: GraphBatch) -> Tensor:
        return self.shift(self.moment[batch.species] + self.head(scalars)[:, 0], batch)

    def average(self, batch: GraphBatch) -> Tensor:
        """mu with the mean q of each element."""
        return self.shift(self.moment[batch.species], batch)

    @staticmethod
    def shift(moments: Tensor, batch: GraphBatch) -> Tensor:
        """Sum of the moments (N,) of each structure times its inverse volume."""
        return torch.zeros_like(batch.inverse_volume).index_add(0, batch.structure, moments) * batch.inverse_volume
