"""The calculator on molecules: properties in ASE's way, charges of ions, what is refused."""

import io

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.units import Debye

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.batching import OutOfDomainWarning
from ase_tracegrad.closed_shell import OpenShellError
from ase_tracegrad.io.def2_svp import def2_svp_basis
from ase_tracegrad.io.qh9 import pyscf_matrix
from ase_tracegrad.labels.pyscf import PyscfSettings, build_molecule, compute_molecule_labels
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.units import HARTREE
from tests.standin_model import StandInPredictor

ions_warn = pytest.mark.filterwarnings("ignore:charge:ase_tracegrad.batching.OutOfDomainWarning")
AMMONIUM = Atoms("NH4", [[0, 0, 0], *(0.59 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]))])


class PerfectPredictor:
    """A model without error: the Hamiltonian of PySCF's own SCF of the neutral molecule, or with ``charge``."""

    def __init__(self, charge: int = 0):
        self.basis, self.charge = def2_svp_basis(), charge
        self.card = ModelCard("perfect", "PySCF", [1, 6, 7, 8], "def2-SVP", "PySCF", "b3lyp5", cutoff=20.0)
        self.device, self.dtype, self.n_spin, self.asked = "cpu", "float64", 1, 0

    def check(self, structure):
        unknown = sorted(set(structure.numbers.tolist()) - set(self.card.elements))
        if unknown:
            raise UnsupportedStructureError(f"perfect knows no element {unknown}")
        return []

    def predict(self, structures, overlaps=None):
        self.asked += 1
        settings = PyscfSettings(grid_level=0)
        return [compute_molecule_labels(Atoms(s.numbers, s.positions), self.charge, settings).hamiltonian for s in structures]


@pytest.fixture
def water() -> Atoms:
    pytest.importorskip("pyscf")
    atoms = molecule("H2O")
    atoms.calc = TraceGradCalculator(PerfectPredictor())
    return atoms


def hydrocarbon() -> Atoms:
    """A displaced molecule of the formula model: no symmetry, 10 electrons."""
    atoms = molecule("C2H2")
    atoms.rattle(0.1, seed=1)
    atoms.calc = TraceGradCalculator(StandInPredictor())
    return atoms


def test_water_like_pyscf(water):
    """Energies of the label; charges and dipole of the orbitals that PySCF makes of its Fock matrix."""
    from pyscf import dft

    settings = PyscfSettings(grid_level=0)
    label = compute_molecule_labels(water, settings=settings)
    info, calc = label.info, water.calc
    eigenvalues = calc.get_eigenvalues(kpt=0)
    assert np.abs(eigenvalues - info["orbital_energies"]).max() / HARTREE < 1e-8
    assert calc.get_homo_lumo() == pytest.approx([info["homo"], info["lumo"]], abs=1e-7)
    assert calc.get_fermi_level() == pytest.approx(info["fermi_level"], abs=1e-7)
    assert calc.get_occupation_numbers(kpt=0).tolist() == [2.0] * 5 + [0.0] * 19
    assert calc.band_gap().gap == pytest.approx(calc.levels().gap, abs=1e-9)
    field = dft.RKS(build_molecule(water, 0, settings.basis), xc=settings.xc)
    field.mo_energy, field.mo_coeff = field.eig(pyscf_matrix(label.hamiltonian) / HARTREE, field.get_ovlp())
    field.mo_occ = field.get_occ()
    assert np.abs(water.get_dipole_moment() / Debye - field.dip_moment(verbose=0)).max() < 1e-4
    assert np.abs(water.get_charges() - field.mulliken_pop(verbose=0)[1]).max() < 1e-6
    assert calc.predictor.asked == 1
    assert set(calc.results) >= {"dipole", "charges", "eigenvalues"}


def test_moved_and_turned():
    atoms = hydrocarbon()
    dipole, charges = atoms.get_dipole_moment(), atoms.get_charges()
    assert np.linalg.norm(dipole) > 0.01
    atoms.positions += [5.0, -3.0, 1.0]
    assert np.abs(atoms.get_dipole_moment() - dipole).max() < 1e-8
    moved = atoms.get_dipole_moment()
    atoms.rotate(50, (1, 2, 3))
    arrow = Atoms("H", [dipole])
    arrow.rotate(50, (1, 2, 3))
    assert np.abs(atoms.get_dipole_moment() - arrow.positions[0]).max() < 1e-7
    assert np.abs(atoms.get_dipole_moment() - moved).max() > 1e-3
    assert np.abs(atoms.get_charges() - charges).max() < 1e-8
    assert charges.sum() == pytest.approx(0, abs=1e-9)


def test_levels_and_dos():
    atoms = hydrocarbon()
    levels, structure = atoms.calc.levels(), atoms.calc.electronic_structure()
    assert (levels.n_filled, len(levels.energies)) == (5, 10)
    assert "HOMO" in str(levels)
    p, s = levels.density_matrix, structure.sample.overlap.bloch([0, 0, 0])[0].real
    assert np.trace(p @ s) == pytest.approx(10.0)
    grid = np.linspace(-60, 90, 7501)
    dos = atoms.calc.dos(grid, width=0.2)
    below = np.where(grid < 0, dos.get_weights(), 0)
    assert np.trapezoid(below, grid) == pytest.approx(10, abs=1e-2)
    for method in ("mulliken", "loewdin"):
        assert atoms.calc.populations(method=method).charges.sum() == pytest.approx(0, abs=1e-9)


@ions_warn
def test_the_charge_of_an_ion():
    """As parameter, in atoms.info, through a file; changed in place it counts at once."""
    atoms = hydrocarbon()
    neutral = atoms.get_charges()
    levels = atoms.calc.levels()
    atoms.info["charge"] = 2
    assert atoms.calc.levels().n_filled == 4
    assert atoms.get_charges().sum() == pytest.approx(2)
    assert atoms.calc.get_occupation_numbers().sum() == pytest.approx(8)
    assert levels.energies[3] < atoms.calc.get_fermi_level() < levels.energies[4]
    assert np.array_equal(atoms.calc.levels().energies, levels.energies)
    assert len(atoms.calc.predictor.batches) == 1
    atoms.calc.set(charge=-2)
    assert atoms.get_charges().sum() == pytest.approx(-2)
    assert atoms.calc.fixed_density(charge=0).get_property("charges", atoms) == pytest.approx(neutral)
    atoms.calc.set(charge=None)
    assert atoms.get_charges().sum() == pytest.approx(2)
    file = io.StringIO()
    atoms.calc = None
    write(file, atoms, format="extxyz")
    file.seek(0)
    again = read(file, format="extxyz")
    again.calc = TraceGradCalculator(StandInPredictor())
    assert again.calc.levels().n_filled == 4
    assert [sample.info["n_electrons"] for sample in again.calc.predict([again, hydrocarbon()], progress=False)] == [8.0, 10.0]


def test_a_charge_warns_once_that_h_does_not_know_it():
    atoms = hydrocarbon()
    atoms.calc.set(charge=2)
    with pytest.warns(OutOfDomainWarning, match="charge 2: the network sees no charge"):
        atoms.calc.levels()
    atoms.calc.levels()  # a second warning would be an error here


@ions_warn
@pytest.mark.parametrize(("atoms", "charge"), [(molecule("OH"), -1), (AMMONIUM, 1), (molecule("H2"), 0), (Atoms("O"), -2)])
def test_ions_h2_and_a_lone_atom(atoms, charge):
    pytest.importorskip("pyscf")
    atoms = atoms.copy()
    atoms.set_initial_magnetic_moments(None)
    atoms.calc = TraceGradCalculator(PerfectPredictor(charge), charge=charge)
    homo, lumo = atoms.calc.get_homo_lumo()
    assert lumo > homo
    assert atoms.get_charges().sum() == pytest.approx(charge, abs=1e-9)
    assert np.isfinite(atoms.get_dipole_moment()).all()
    if atoms.get_chemical_formula() in ("H2", "O"):
        expected = charge * atoms.get_center_of_mass()  # nothing but the charge itself, about the origin
        assert np.abs(atoms.get_dipole_moment() - expected).max() < 1e-8


def test_open_shells_are_refused():
    asks = {
        TraceGradCalculator.levels: OpenShellError,
        TraceGradCalculator.get_homo_lumo: OpenShellError,
        TraceGradCalculator.get_dipole_moment: PropertyNotImplementedError,  # so that `ase run` goes on
        TraceGradCalculator.get_charges: PropertyNotImplementedError,
    }
    for atoms, charge, message in (
        (molecule("CH3"), None, "CH3 with charge 0 has 9 electrons, an odd number"),
        (molecule("CH4"), 1, "CH4 with charge 1 has 9 electrons"),
        (molecule("CH4"), 0.5, "9.5 electrons, not whole pairs"),
        (molecule("CH2_s3B1d"), None, "CH2 carries magnetic moments"),
        (Atoms("C"), None, "the atom C has an open shell"),
    ):
        atoms.calc = TraceGradCalculator(StandInPredictor(), charge=charge)
        for ask, error in asks.items():
            with pytest.raises(error, match=message):
                ask(atoms.calc)


def test_a_molecule_in_a_periodic_box():
    """Bands, gap and charges as of any crystal; no dipole and no levels."""
    atoms = molecule("CH4", vacuum=6.0)
    atoms.pbc = True
    atoms.calc = TraceGradCalculator(StandInPredictor(), kpts=(1, 1, 1), fermi_kpts=(1, 1, 1))
    alone = molecule("CH4")
    alone.calc = TraceGradCalculator(StandInPredictor())
    assert atoms.calc.band_gap().gap == pytest.approx(alone.calc.levels().gap, abs=1e-5)
    assert np.abs(atoms.get_charges() - alone.get_charges()).max() < 1e-5
    with pytest.raises(PropertyNotImplementedError, match=r"dipole: positions are not defined.*atoms\.pbc = False"):
        atoms.get_dipole_moment()
    with pytest.raises(ValueError, match=r"levels are those of a molecule.*or ask for bands"):
        atoms.calc.get_homo_lumo()
    atoms.pbc = False
    assert np.abs(atoms.get_dipole_moment()).max() < 1e-6


def test_results_follow_the_parameters():
    atoms = bulk("SiC", "zincblende", a=4.36)
    atoms.calc = TraceGradCalculator(StandInPredictor(), fermi_kpts=(1, 1, 1))
    coarse = atoms.get_charges()
    atoms.calc.set(fermi_kpts=(3, 3, 3))
    assert "charges" not in atoms.calc.results
    assert np.abs(atoms.get_charges() - coarse).max() > 1e-6


def test_an_element_never_seen_and_wrong_charges():
    with pytest.raises(UnsupportedStructureError, match="no element \\[8\\]"):
        molecule("H2O").calc = TraceGradCalculator(StandInPredictor())
    for charge in ("-1", float("nan"), True):
        with pytest.raises(InputError, match="charge must be a number"):
            TraceGradCalculator(StandInPredictor(), charge=charge)
    atoms = hydrocarbon()
    atoms.info["charge"] = "two"
    with pytest.raises(InputError, match=r"atoms\.info\['charge'\] must be a number"):
        atoms.calc.levels()


def test_files_keep_dipole_and_charges(tmp_path):
    atoms = hydrocarbon()
    dipole, charges = atoms.get_dipole_moment(), atoms.get_charges()
    atoms.write(tmp_path / "molecule.xyz", format="extxyz")
    again = read(tmp_path / "molecule.xyz")
    assert np.abs(again.get_dipole_moment() - dipole).max() < 1e-6
    assert np.abs(again.get_charges() - charges).max() < 1e-6


def test_beside_a_potential():
    atoms = hydrocarbon()
    atoms.calc = TraceGradCalculator(StandInPredictor(), potential=EMT())
    assert np.isfinite(atoms.get_potential_energy())
    assert np.abs(atoms.get_charges()).max() > 0.01
    assert set(atoms.calc.implemented_properties) >= {"charges", "dipole", "energy", "forces"}
