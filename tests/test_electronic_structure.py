"""What the calculator's answers must not depend on, and what cannot be physical."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene

from ase_tracegrad import BlockMatrix, Sample, TraceGradCalculator, compute_bands
from ase_tracegrad.basis import AtomicBasis, Basis, OrbitalLayout
from ase_tracegrad.electronic.ghosts import GhostStateWarning
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.structure import Structure
from tests.calculator_cases import EMBEDDED, needs_embedded, no_energy_warning
from tests.electronic.lattice_models import unit_overlap
from tests.standin_model import StandInPredictor

pytestmark = no_energy_warning


def test_an_atom_stored_one_period_away_adds_no_axis():
    atoms = graphene(a=2.46, vacuum=5.0)
    atoms.pbc = True
    atoms.positions[1] += atoms.cell[2]
    atoms.calc = TraceGradCalculator(StandInPredictor())
    assert atoms.calc.band_structure(npoints=12, progress=False).path.path == "GMKG"


def rattled_sheet() -> Atoms:
    atoms = graphene(a=2.46, size=(2, 1, 1), vacuum=5.0)
    atoms.rattle(0.04, seed=3)
    atoms.pbc = True
    return atoms


def rectangular_graphene() -> Atoms:
    scaled = np.column_stack([[0, 0.5, 0.5, 0], [0, 1 / 6, 1 / 2, 2 / 3], [0.5] * 4])
    return Atoms("C4", cell=[2.46, 2.46 * np.sqrt(3), 10], pbc=True, scaled_positions=scaled)


@needs_embedded
def test_fermi_level_does_not_depend_on_how_the_cell_is_written():
    """A gap of 2 meV that no special point of these cells holds."""
    levels = []
    for matrix in (
        np.eye(3),
        [[1, 0, 0], [3, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [2, 1, 1]],
        [[2, 1, 0], [7, 4, 0], [0, 0, 1]],
    ):
        atoms = rattled_sheet()
        atoms.set_cell(np.array(matrix) @ atoms.cell.array)
        # Meshes of half the usual density: ASE gives the last, skew cell 7000 k-points otherwise.
        atoms.calc = TraceGradCalculator(EMBEDDED, kpts={"density": 1.8, "gamma": True}, fermi_kpts={"density": 2.5, "gamma": True})
        gap, level = atoms.calc.band_gap(progress=False), atoms.calc.get_fermi_level()
        assert gap.vbm <= level <= gap.cbm
        levels.append(level)
    assert np.ptp(levels) < 1e-4
    assert atoms.calc.band_structure(npoints=12, progress=False).reference == levels[-1]
    assert atoms.calc.dos(kpts=(2, 2, 1), progress=False).info["fermi_level"] == f"{levels[-1]:.6f} eV"


@needs_embedded
@pytest.mark.parametrize("size", [(4, 4, 1), (6, 6, 1), (7, 7, 1), (10, 10, 1)])
def test_fermi_level_of_graphene_is_its_dirac_point(size):
    primitive = graphene(a=2.46, vacuum=5.0)
    primitive.pbc = True
    for atoms in (primitive, rectangular_graphene()):
        atoms.calc = TraceGradCalculator(EMBEDDED, fermi_kpts=size)
        gap, level = atoms.calc.band_gap(kpts=(4, 4, 1), progress=False), atoms.calc.get_fermi_level()
        assert gap.kind == "semimetal"
        assert abs(gap.vbm - level) < 1e-4
        if atoms is primitive:
            h, s = atoms.calc.hamiltonian(), atoms.calc.overlap()
            dirac = compute_bands(h, s, [[1 / 3, 1 / 3, 0]])[0, 3:5]
        assert np.abs(dirac - level).max() < 1e-4


def chain(overlapping: float) -> ElectronicStructure:
    """Two bands that overlap by ``overlapping`` eV: tops at k = 1/2 (valence), bottoms at k = 0 (conduction)."""
    home, hop = np.diag([-1.0, 1.0]) + np.diag([1, -1]) * overlapping / 2, np.diag([-0.5, -0.5])
    h = BlockMatrix.from_blocks(OrbitalLayout(((0, 0),)), {(0, 0, (0, 0, 0)): home} | {(0, 0, (r, 0, 0)): hop for r in (-1, 1)})
    structure = Structure([6], [[0, 0, 0.0]], np.diag([2.0, 9, 9]), [True, False, False])
    basis = Basis({6: AtomicBasis(6, (0, 0), (), 2.0)})
    return ElectronicStructure(Sample(structure, basis, h, unit_overlap(h), {"n_electrons": 2.0}))


@pytest.mark.parametrize("overlapping", [1e-4, 0.05, 0.5])
@pytest.mark.parametrize("n", [3, 5, 8, 40])
def test_fermi_level_of_overlapping_bands_lies_between_their_edges(overlapping, n):
    """Also on meshes that see a gap."""
    metal = chain(overlapping)
    level = metal.find_fermi_level(make_mesh((n, 1, 1)))
    assert abs(level) <= overlapping / 2 + 1e-4


@needs_embedded
@pytest.mark.filterwarnings("ignore::ase_tracegrad.batching.OutOfDomainWarning")
def test_ghost_states_are_reported_once_per_structure():
    atoms = graphene(a=0.8 * 2.46, vacuum=5.0)
    atoms.calc = TraceGradCalculator(EMBEDDED)
    with pytest.warns(GhostStateWarning, match="no orbital lies below"):
        assert atoms.calc.band_structure("GMKG", 20, progress=False).energies.min() < -100
    with warnings.catch_warnings():
        warnings.simplefilter("error", GhostStateWarning)
        atoms.calc.dos(kpts=(3, 3, 1), progress=False)
        sound = graphene(a=2.46, vacuum=5.0)
        sound.calc = TraceGradCalculator(EMBEDDED)
        assert np.isfinite(sound.calc.get_fermi_level())
