"""Energy and forces of a predicted density: PySCF evaluates the functional and its gradient once, without self-consistency.

The energy E[D] of a closed-shell density lies above that of the SCF by an amount of second order in the error of D. PySCF's
forces assume that E is stationary: for another D they leave out how D follows the atoms, and their error is of first order. That
term is the derivative of the model's H, contracted with how E answers to it. It is added here; the forces are then the derivative
of E[D(R)], and their error is of second order too.

Measured on H2O and HCN, H off by 56 to 465 microhartree (a share of the 'minao' Hamiltonian, or random numbers): MAE of the forces
in meV/Angstrom, by PySCF's formula with the energy-weighted density W (benchmarks/density_forces.py)
    of the orbital energies of H            3 to 40
    = D F D / 2, F that of D                5 to 30   (what is left when the term is left out)
    and D after one diagonalisation of F    1 to 46
    = (S^-1 F D + D F S^-1) / 2             9 to 410
    = D F D / 2 and the term added       0.01 to 1.2  (this module)
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.calculators.calculator import BaseCalculator, Calculator, InputError, all_changes
from scipy.linalg import eigh

from .batching import OutOfDomainWarning, predict_samples
from .blocks import BlockMatrix
from .io.def2_svp import PYSCF_BOHR
from .io.qh9 import pyscf_matrix
from .io.sample import Sample
from .labels.pyscf import PyscfSettings, build_molecule, prepare_scf
from .scf import PyscfObject, find_predictor, hamiltonian_density, initial_sample
from .structure import Structure
from .units import HARTREE

STEP = 0.01  # Angstrom; at float32 the differences are good to 1e-4 eV/Angstrom, far below the error of the forces
IDEMPOTENT = 1e-6  # largest deviation of an occupation from 0 or 2


@dataclass(frozen=True, eq=False)
class EvaluatedDensity:
    """A closed-shell density with its Fock matrix and energy, all in PySCF's order and in Hartree.

    calculation: pyscf.dft.RKS or pyscf.scf.RHF; occupied (n, o), virtual (n, v): orbitals that diagonalise the Fock matrix inside
    either space, with energies_occupied (o,), energies_virtual (v,); coupling (o, v): the Fock matrix between them, zero at
    self-consistency.
    """

    calculation: Any
    energy: float
    occupied: np.ndarray
    virtual: np.ndarray
    energies_occupied: np.ndarray
    energies_virtual: np.ndarray
    coupling: np.ndarray

    @property
    def excess(self) -> float:
        """Estimate of E[D] - E[SCF] from the Fock matrix alone: sum over i, a of what two electrons gain in the two levels i and a.

        sqrt(d^2 + 4 |F_ia|^2) - d with d = e_a - e_i, to second order 2 |F_ia|^2 / d; the response of F is left out.
        Right for random errors of H; 2.5 to 3 times too large for a share of the 'minao' Hamiltonian, which moves charge.
        """
        distance = self.energies_virtual - self.energies_occupied[:, None]
        return float((np.hypot(distance, 2 * self.coupling) - distance).sum())

    @cached_property
    def stationary_gradient(self) -> np.ndarray:
        """(N, 3) PySCF's gradient with W = D F D / 2, in Hartree / Bohr: that of E[D] if D followed the overlap alone."""
        gradient = self.calculation.nuc_grad_method()
        return gradient.kernel(self.energies_occupied, self.occupied, np.full(len(self.energies_occupied), 2.0))


def evaluate_density(calculation, density: np.ndarray) -> EvaluatedDensity:
    """One evaluation of the functional and of the Fock matrix.

    calculation: pyscf.dft.RKS or pyscf.scf.RHF, which need not have run; density (n, n) with D S D = 2 D.
    Raises TypeError, ValueError, OpenShellError.
    """
    read = PyscfObject(calculation)
    if read.periodic or not read.is_mean_field:
        raise TypeError(f"expected a molecule's RKS or RHF object, which names the functional, found {type(calculation).__name__}")
    overlap = calculation.get_ovlp()
    occupations, orbitals = eigh(overlap @ density @ overlap, overlap)
    pairs = read.molecule.nelectron // 2
    closed = np.where(np.arange(len(occupations)) < len(occupations) - pairs, 0.0, 2.0)
    deviation = np.abs(occupations - closed).max()
    if deviation > IDEMPOTENT:
        raise ValueError(
            f"expected the density of {pairs} doubly occupied orbitals, found occupations off by {deviation:.1e}: "
            "densities of initial guesses are superpositions of atoms; use initial_density or hamiltonian_density"
        )
    potential = calculation.get_veff(read.molecule, density)
    fock = calculation.get_fock(dm=density, vhf=potential)
    virtual, occupied = orbitals[:, :-pairs], orbitals[:, -pairs:]
    energies_occupied, turn = eigh(occupied.T @ fock @ occupied)
    energies_virtual, other = eigh(virtual.T @ fock @ virtual)
    occupied, virtual = occupied @ turn, virtual @ other
    energy = calculation.energy_tot(dm=density, vhf=potential)
    return EvaluatedDensity(
        calculation, float(energy), occupied, virtual, energies_occupied, energies_virtual, occupied.T @ fock @ virtual
    )


def density_energy(calculation, density: np.ndarray) -> tuple[float, np.ndarray]:
    """E[D] in eV, and forces (N, 3) in eV/Angstrom without the term that needs the model; see ``predicted_energy``.

    Arguments and errors as of ``evaluate_density``.
    """
    evaluated = evaluate_density(calculation, density)
    return evaluated.energy * HARTREE, -evaluated.stationary_gradient * HARTREE / PYSCF_BOHR


def predicted_energy(calculation, model, *, device=None) -> tuple[float, np.ndarray]:
    """E[D] in eV of a model's density, and its forces (N, 3) in eV/Angstrom.

    The forces are the derivative of that energy; of a model with a reference only nearly (see ``predicted_forces``).

    calculation: pyscf.dft.RKS or pyscf.scf.RHF of a molecule; model, device, warnings and errors as of ``scf.initial_density``.
    """
    predictor = find_predictor(model, device)
    sample, density = initial_sample(calculation, predictor)
    evaluated = evaluate_density(calculation, density)
    return evaluated.energy * HARTREE, predicted_forces(predictor, sample, evaluated)


def predicted_forces(predictor, sample: Sample, evaluated: EvaluatedDensity) -> np.ndarray:
    """(N, 3) eV/Angstrom; sample: of the predictor, whose density was evaluated.

    Without the response of D for a 'delta' model: its 6 N predictions would be 6 N Fock matrices, more than the SCF they replace.
    """
    forces = -evaluated.stationary_gradient * HARTREE / PYSCF_BOHR
    return forces if predictor.reference != "none" else forces - response_gradient(predictor, sample, evaluated)


def response_gradient(predictor, sample: Sample, evaluated: EvaluatedDensity) -> np.ndarray:
    """(N, 3) eV/Angstrom: how E[D] changes because D follows H of the model when atoms move.

    First-order perturbation of H C = S C e gives the occupied-virtual part of dD; with F = F[D] between the model's orbitals,
    dE = 4 sum_ia F_ia (c_i dH c_a - e_i c_i dS c_a) / (e_i - e_a). dH and dS are central differences: 6 N predictions.
    """
    energies, orbitals = eigh(pyscf_matrix(sample.hamiltonian), evaluated.calculation.get_ovlp())
    n = len(evaluated.energies_occupied)
    occupied, virtual = orbitals[:, :n], orbitals[:, n:]
    overlap = evaluated.calculation.get_ovlp()
    # D has one occupied space, so F_ia turns into these orbitals from those that EvaluatedDensity keeps.
    coupling = (occupied.T @ overlap @ evaluated.occupied) @ evaluated.coupling @ (evaluated.virtual.T @ overlap @ virtual)
    weights = 4 * HARTREE * coupling / (energies[:n, None] - energies[n:])
    of_hamiltonian, of_overlap = occupied @ weights @ virtual.T, (occupied * energies[:n]) @ weights @ virtual.T

    def contract(matrix: BlockMatrix, weight: np.ndarray) -> float:
        return float(np.vdot(weight, pyscf_matrix(matrix)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)  # given for the structure itself
        displaced = predict_samples(predictor, displace(sample.structure), progress=False)
        values = [contract(s.hamiltonian, of_hamiltonian) - contract(s.overlap, of_overlap) for s in displaced]
    forward, backward = np.array(values).reshape(-1, 3, 2).transpose(2, 0, 1)
    return (forward - backward) / (2 * STEP)


def displace(structure: Structure) -> Iterator[Structure]:
    """Each atom along x, y, z by +STEP and -STEP, in this order."""
    for i in range(len(structure)):
        for axis in range(3):
            for step in (STEP, -STEP):
                positions = np.array(structure.positions)
                positions[i, axis] += step
                yield Structure(structure.numbers, positions, structure.cell, structure.pbc)


class DensityPotential(Calculator):
    """Energy and forces of the density that a calculator's model predicts: TraceGradCalculator(energy='density').

    source: the TraceGradCalculator. Closed-shell molecules; PySCF with the basis and functional of the model's labels.
    ``info`` of the last structure: what energy and forces are; how far the energy is estimated to lie above the SCF's, eV.
    Raises LabelError (PyscfNotFoundError, OpenShellError), BasisMismatchError.
    """

    implemented_properties = ["energy", "free_energy", "forces"]
    nolabel = True

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.info: dict[str, Any] = {}
        self._evaluated: EvaluatedDensity | None = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """ASE's entry; forces only when asked for, since they cost more than the energy."""
        super().calculate(atoms, properties, system_changes)
        sample, basis = self.source.sample(self.atoms), self.source.predictor.basis
        if system_changes or self._evaluated is None:
            settings = PyscfSettings(xc=basis.xc, basis=basis.name)
            calculation = prepare_scf(build_molecule(self.atoms, charge_of(sample), settings.basis), settings)
            self._evaluated = evaluate_density(calculation, hamiltonian_density(calculation, sample))
        evaluated = self._evaluated
        energy = evaluated.energy * HARTREE
        self.results.update(energy=energy, free_energy=energy)
        self.info = {
            "energy": f"{basis.xc}/{basis.name} functional of the predicted density, not self-consistent",
            "model": self.source.predictor.card.name,
            "estimated_excess": evaluated.excess * HARTREE,
        }
        if "forces" in properties:
            with_response = self.source.predictor.reference == "none"
            self.info["forces"] = "derivative of this energy" if with_response else "without the response of the density"
            self.results["forces"] = predicted_forces(self.source.predictor, sample, evaluated)

    def __getstate__(self) -> dict:
        """Everything but PySCF's object; it is made again when forces are asked for."""
        return self.__dict__ | {"_evaluated": None}

    def check_state(self, atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, the charge that the source was told included."""
        changes = super().check_state(atoms, tol)
        known = self._evaluated
        if known is not None and charge_of(self.source.sample(atoms)) != known.calculation.mol.charge:
            return [*changes, "charge"]
        return changes

    def __repr__(self) -> str:
        return f"DensityPotential(model={self.source.predictor.card.name!r}): functional of the predicted density, no SCF"


def charge_of(sample: Sample) -> int:
    """Charge of a molecule in units of e, neutral unless its info says otherwise."""
    return round(sample.info.get("charge", 0))


def choose_potential(potential, energy: str | None, source):
    """What gives a TraceGradCalculator its energies: an ASE calculator, its own density, or nothing; InputError for both."""
    if potential is not None and not isinstance(potential, BaseCalculator):
        raise InputError(f"potential must be an ASE calculator, found {type(potential).__name__}")
    if energy is None:
        return potential
    if energy != "density" or potential is not None:
        raise InputError(f"energy must be None or 'density', and excludes potential; found {energy!r} and {potential!r}")
    return DensityPotential(source)
