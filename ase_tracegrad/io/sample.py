"""Sample: one structure with its Hamiltonian and overlap, whatever file or code they came from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..basis import Basis
from ..blocks import BlockMatrix
from ..structure import Structure


@dataclass(frozen=True, eq=False)
class ReferenceBands:
    """Bands as the DFT code itself printed them: kpts (K,3) fractional, energies (K,n) eV, fermi_level eV."""

    kpts: np.ndarray
    energies: np.ndarray
    fermi_level: float


@dataclass(frozen=True, eq=False)
class Sample:
    """hamiltonian in eV, overlap dimensionless; ``info`` holds JSON-able facts such as 'fermi_level' (eV).

    The positions are the ones the cell indices R refer to. reference: H of an initial density (labels/initial_hamiltonian.py), eV.
    """

    structure: Structure
    basis: Basis
    hamiltonian: BlockMatrix
    overlap: BlockMatrix
    info: dict[str, Any] = field(default_factory=dict)
    bands: ReferenceBands | None = None
    reference: BlockMatrix | None = None

    @property
    def atoms(self):
        """The structure as ``ase.Atoms``."""
        from ase import Atoms

        s = self.structure
        return Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.pbc)


class FormatError(ValueError):
    """A file that is not what its format promises; the message names the file, what was expected and what was found."""
