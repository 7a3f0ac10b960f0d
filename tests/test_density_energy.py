"""Energy and forces of a predicted density: variational, the forces its derivative, and an option of the calculator."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.density_energy import density_energy, evaluate_density, predicted_energy
from ase_tracegrad.io.def2_svp import PYSCF_BOHR
from ase_tracegrad.labels.pyscf import OpenShellError, build_molecule
from ase_tracegrad.scf import initial_density
from ase_tracegrad.units import HARTREE
from tests.molecule_model import HueckelMolecules

scf = pytest.importorskip("pyscf.scf", reason="PySCF is not installed")
pytestmark = [
    pytest.mark.usefixtures("tidy_pyscf"),
    # Hartree-Fock has no grid, whose own derivative PySCF leaves out.
    pytest.mark.filterwarnings("ignore:the calculation uses the functional 'HF'"),
]


def make_water():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    return atoms


def hartree_fock(atoms):
    return scf.RHF(build_molecule(atoms, 0, "def2-SVP"))


@pytest.fixture(scope="module")
def converged(tidy_pyscf):
    calculation = hartree_fock(make_water())
    calculation.conv_tol = 1e-11
    calculation.kernel()
    return calculation


def test_at_self_consistency_it_is_pyscf(converged):
    density = converged.make_rdm1()
    energy, forces = density_energy(hartree_fock(make_water()), density)
    assert energy / HARTREE == pytest.approx(converged.e_tot, abs=1e-10)
    expected = -converged.nuc_grad_method().kernel() * HARTREE / PYSCF_BOHR
    assert np.abs(forces - expected).max() < 1e-4
    assert evaluate_density(converged, density).excess < 1e-10


def perturb(calculation, amount: float) -> np.ndarray:
    """The density of the converged Fock matrix with symmetric random numbers on top, in Hartree."""
    fock = calculation.get_fock()
    noise = np.random.default_rng(0).normal(scale=amount, size=fock.shape)
    energies, orbitals = calculation.eig(fock + (noise + noise.T) / 2, calculation.get_ovlp())
    return calculation.make_rdm1(orbitals, calculation.get_occ(energies, orbitals))


def test_the_energy_is_variational_of_second_order(converged):
    """Above the SCF, four times as far for twice the error of H, and the estimate is right within a factor of two."""
    above = []
    for amount in (2e-3, 4e-3):
        evaluated = evaluate_density(converged, perturb(converged, amount))
        above.append(evaluated.energy - converged.e_tot)
        assert 0.5 < evaluated.excess / above[-1] < 2
    assert above[0] > 0
    assert above[1] / above[0] == pytest.approx(4, rel=0.1)


def test_forces_are_the_derivative_of_the_energy():
    """Also for a density 100 eV above the SCF, whose forces without the response term are off by 20 eV/Angstrom."""
    atoms, model = make_water(), HueckelMolecules()

    def energy_of(displaced):
        calculation = hartree_fock(displaced)
        return evaluate_density(calculation, initial_density(calculation, model)).energy * HARTREE

    energy, forces = predicted_energy(hartree_fock(atoms), model)
    assert energy == pytest.approx(energy_of(atoms), abs=1e-8)
    assert np.abs(forces.sum(axis=0)).max() < 1e-6
    for atom, axis in ((0, 2), (1, 1)):
        values = []
        for step in (2e-3, -2e-3):
            displaced = atoms.copy()
            displaced.positions[atom, axis] += step
            values.append(energy_of(displaced))
        assert forces[atom, axis] == pytest.approx((values[1] - values[0]) / 4e-3, abs=5e-3)
    without = density_energy(hartree_fock(atoms), initial_density(hartree_fock(atoms), model))[1]
    assert np.abs(without - forces).max() > 5


def test_superposed_atoms_are_no_orbitals(converged):
    with pytest.raises(ValueError, match=r"density of 5 doubly occupied orbitals.*use initial_density"):
        density_energy(converged, converged.get_init_guess(key="minao"))
    with pytest.raises(TypeError, match="which names the functional, found Mole"):
        density_energy(converged.mol, converged.make_rdm1())


def test_the_option_of_the_calculator():
    atoms, model = make_water(), HueckelMolecules()
    atoms.calc = TraceGradCalculator(model, energy="density")
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert model.seen == 1 + 6 * 3
    expected = predicted_energy(atoms.calc.potential._evaluated.calculation, model)
    assert energy == atoms.get_potential_energy(force_consistent=True) == pytest.approx(expected[0], abs=1e-6)
    assert np.abs(forces - expected[1]).max() < 1e-5
    info = atoms.calc.potential.info
    assert "not self-consistent" in info["energy"]
    assert info["estimated_excess"] > 1
    assert info["forces"] == "derivative of this energy"
    assert "energy='density'" in repr(atoms.calc)
    assert atoms.calc.todict()["energy"] == "density"
    atoms.positions[0, 0] += 0.1
    assert atoms.get_potential_energy() != energy


def test_the_charge_of_the_sample_is_honoured(monkeypatch):
    """A neutral hydroxyl is refused; its anion has an energy, and the answer follows the charge without a change of the atoms."""
    atoms, calc = molecule("OH"), TraceGradCalculator(HueckelMolecules(), energy="density")
    atoms.set_initial_magnetic_moments(None)
    predicted = calc.sample(atoms)
    for charge, electrons in ((-1, 10), (1, 8)):
        monkeypatch.setattr(calc, "sample", lambda atoms, info={"charge": charge}: replace(predicted, info=info))
        calc.potential.get_property("energy", atoms)
        assert calc.potential._evaluated.calculation.mol.nelectron == electrons
    monkeypatch.setattr(calc, "sample", lambda atoms: predicted)
    with pytest.raises(OpenShellError, match="9 electrons"):
        calc.potential.get_property("energy", atoms)


def test_copies_ask_their_own_predictor():
    calc = TraceGradCalculator(HueckelMolecules(), energy="density")
    assert calc.fixed_density().potential.results == {}
    sibling = calc.fixed_density(kpts=(1, 1, 1))
    assert sibling.potential is not calc.potential
    assert sibling.potential.source is sibling
    atoms = make_water()
    energy = calc.get_potential_energy(atoms)
    again = pickle.loads(pickle.dumps(calc))
    assert again.potential.source is again
    assert again.potential._evaluated is None
    assert again.potential.results["energy"] == energy


def test_what_the_option_refuses():
    with pytest.raises(InputError, match="None or 'density'"):
        TraceGradCalculator(HueckelMolecules(), energy="scf")
    with pytest.raises(InputError, match="excludes potential"):
        TraceGradCalculator(HueckelMolecules(), energy="density", potential=TraceGradCalculator(HueckelMolecules()))
    radical = molecule("OH")
    radical.calc = TraceGradCalculator(HueckelMolecules(), energy="density")
    with pytest.raises(OpenShellError, match="radicals"):
        radical.get_potential_energy()
    without = TraceGradCalculator(HueckelMolecules())
    with pytest.warns(UserWarning, match="energy='density' too"):
        assert np.isnan(without.get_potential_energy(make_water()))
