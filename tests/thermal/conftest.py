"""Phonons that the tests of temperature share: aluminium by EMT, and a diamond of springs for the stand-in model."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.thermal.phonons import compute_force_constants
from tests.standin_model import StandInPredictor


class Springs(Calculator):
    """Harmonic bonds between nearest neighbours and, weaker, second neighbours: energy sum k/2 (d - d_0)^2."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, shells=((1.5446, 28.0), (2.5223, 3.0))):
        super().__init__()
        self.shells = shells  # distance in Angstrom, k in eV/Angstrom^2

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces, energy = np.zeros((len(self.atoms), 3)), 0.0
        for rest, k in self.shells:
            i, d, vectors = neighbor_list("idD", self.atoms, rest + 0.35)
            near = np.abs(d - rest) < 0.35
            stretch = d[near] - rest
            energy += 0.25 * k * float(stretch @ stretch)
            np.add.at(forces, i[near], k * (stretch / d[near])[:, None] * vectors[near])
        self.results = {"energy": energy, "forces": forces}


@pytest.fixture(scope="session")
def aluminium():
    """Phonopy of fcc Al, EMT, 3x3x3."""
    return compute_force_constants(bulk("Al", a=3.995), EMT(), (3, 3, 3))


@pytest.fixture(scope="session")
def diamond_atoms() -> Atoms:
    return bulk("C", "diamond", a=3.567)


@pytest.fixture(scope="session")
def diamond(diamond_atoms):
    """Phonopy of diamond by springs, 2x2x2."""
    return compute_force_constants(diamond_atoms, Springs(), (2, 2, 2))


@pytest.fixture(scope="session")
def hueckel():
    """The extended Hueckel model as a calculator: diamond is an insulator."""
    return TraceGradCalculator(StandInPredictor(), kpts={"size": (4, 4, 4), "gamma": True})
