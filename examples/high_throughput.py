"""Many structures: Hamiltonians in batches, one row per structure in an ASE data base, sheets.db in the current folder."""

import ase.db
import numpy as np
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.kpoints import special_points


def strained_sheets():
    """2x2 cells of graphene, stretched along x, atoms displaced by up to 0.05 Angstrom."""
    for number, strain in enumerate(np.linspace(-0.03, 0.03, 13)):
        atoms = graphene(a=2.46, size=(2, 2, 1), vacuum=5.0)
        atoms.set_cell(atoms.cell * [1 + strain, 1, 1], scale_atoms=True)
        atoms.positions += np.random.default_rng(number).uniform(-0.05, 0.05, atoms.positions.shape)
        atoms.info["strain"] = strain
        yield atoms


structures = list(strained_sheets())
mesh = make_mesh((6, 6, 1), gamma=True)
calc = TraceGradCalculator("graphene-pbe")

with ase.db.connect("sheets.db", append=False) as database:
    # An iterator: results come as they are ready, and only one batch of matrices is in memory.
    for atoms, sample in zip(structures, calc.predict(structures), strict=True):
        solved = ElectronicStructure(sample)
        # Special points of the lattice belong to the mesh: band edges like to be there. From them the edges are followed.
        edges = special_points(atoms)
        level, gap = solved.find_fermi_level(mesh, edges=edges), solved.find_band_gap(mesh, edges=edges)
        database.write(atoms, strain=atoms.info["strain"], fermi=level, direct_gap=gap.direct_gap)

for row in ase.db.connect("sheets.db").select(sort="direct_gap"):
    print(f"strain {row.strain:+.3f}   Fermi level {row.fermi:8.4f} eV   direct gap {1000 * row.direct_gap:7.2f} meV")
