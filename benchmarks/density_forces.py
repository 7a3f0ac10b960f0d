"""Which formula gives the best forces of a density that is nearly self-consistent: the reason for ase_tracegrad/density_energy.py.

    python benchmarks/density_forces.py [--molecules H2O HCN] [--out benchmarks/results/density_forces.json]

B3LYP/def2-SVP Hamiltonians with a known error stand for a model: a share of the 'minao' Hamiltonian, or random numbers that do not
depend on the positions. Energy and forces of their densities without SCF against those of the SCF.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import numpy as np
from ase import Atoms
from ase.build import molecule as build_geometry
from measure import describe_machine, write_result

from ase_tracegrad.density_energy import evaluate_density, predicted_forces
from ase_tracegrad.io.def2_svp import PYSCF_BOHR, def2_svp_basis
from ase_tracegrad.io.qh9 import molecule_matrix, pyscf_matrix
from ase_tracegrad.labels.initial_hamiltonian import initial_hamiltonian
from ase_tracegrad.labels.pyscf import QH9_SETTINGS, build_molecule, compute_molecule_labels, prepare_scf
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.scf import hamiltonian_density
from ase_tracegrad.structure import Structure
from ase_tracegrad.units import HARTREE

SETTINGS = replace(QH9_SETTINGS, conv_tol=1e-11)
ERRORS = {"minao": (0.01, 0.03), "noise": (1e-4, 3e-4)}  # a share; Hartree
TO_FORCES = 1000 * HARTREE / PYSCF_BOHR  # meV/Angstrom


class DisturbedLabels:
    """Labels with an error, as a model: the part of Predictor that forces ask for. Labels are computed once for all errors."""

    reference, device, n_spin, basis = "none", "cpu", 1, def2_svp_basis()
    card = ModelCard("disturbed labels", "", sorted(basis.atoms), basis.name, basis.code, basis.xc, cutoff=15.0)

    def __init__(self):
        self.kind, self.amount = "noise", 0.0
        self._known: dict[bytes, tuple] = {}

    def check(self, structure: Structure) -> list[str]:
        """Nothing to distrust."""
        return []

    def predict(self, structures, overlaps=None):
        """H(R) with the error."""
        return [self.sample(structure).hamiltonian for structure in structures]

    def sample(self, structure: Structure):
        """The label with the error in its Hamiltonian."""
        key = structure.positions.tobytes()
        if key not in self._known:
            label = compute_molecule_labels(Atoms(structure.numbers, structure.positions), settings=SETTINGS)
            self._known[key] = label, pyscf_matrix(initial_hamiltonian(structure, self.basis))
        label, initial = self._known[key]
        fock = pyscf_matrix(label.hamiltonian)
        if self.kind == "minao":
            fock = fock + self.amount * (initial - fock)
        else:
            noise = np.random.default_rng(0).normal(scale=self.amount * HARTREE, size=fock.shape)
            fock = fock + (noise + noise.T) / 2
        return replace(label, hamiltonian=molecule_matrix(label.hamiltonian.layout, fock))


def measure(atoms, model: DisturbedLabels, reference) -> dict:
    """Errors of one density; reference: (converged calculation, its gradient)."""
    converged, gradient = reference
    sample = model.sample(Structure.from_atoms(atoms))
    calculation = prepare_scf(build_molecule(atoms, 0, SETTINGS.basis), SETTINGS)
    density = hamiltonian_density(calculation, sample)
    evaluated = evaluate_density(calculation, density)
    gradients = other_gradients(calculation, sample, density)
    gradients["D F D / 2"] = evaluated.stationary_gradient
    gradients["D F D / 2 and the response of D"] = -predicted_forces(model, sample, evaluated) * 1000 / TO_FORCES
    per_atom = 1e6 / len(atoms)  # microhartree
    error = pyscf_matrix(sample.hamiltonian) / HARTREE - converged.get_fock()
    return {
        "hamiltonian_mae": float(np.abs(error).mean() * 1e6),
        "energy_error": float(evaluated.energy - converged.e_tot) * per_atom,
        "estimated_energy_error": evaluated.excess * per_atom,
        "force_mae": {name: float(np.abs(found - gradient).mean() * TO_FORCES) for name, found in gradients.items()},
    }


def other_gradients(calculation, sample, density: np.ndarray) -> dict[str, np.ndarray]:
    """PySCF's gradient with other energy-weighted densities, Hartree / Bohr."""
    overlap, fock = calculation.get_ovlp(), calculation.get_fock(dm=density)
    inverse = np.linalg.inv(overlap)

    def gradient(hamiltonian: np.ndarray, weighted: np.ndarray | None = None) -> np.ndarray:
        energies, orbitals = calculation.eig(hamiltonian, overlap)
        method = calculation.nuc_grad_method()
        if weighted is not None:
            method.make_rdm1e = lambda *_: weighted
        return method.kernel(energies, orbitals, calculation.get_occ(energies, orbitals))

    predicted = pyscf_matrix(sample.hamiltonian) / HARTREE
    return {
        "orbital energies of H": gradient(predicted),
        "one diagonalisation of F": gradient(fock),
        "(S^-1 F D + D F S^-1) / 2": gradient(predicted, (inverse @ fock @ density + density @ fock @ inverse) / 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", nargs="+", default=["H2O", "HCN"], help="names in ase.build.molecule")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "density_forces.json")
    options = parser.parse_args()
    units = {"hamiltonian_mae": "microhartree", "energy_error": "microhartree per atom", "force_mae": "meV/Angstrom"}
    facts = describe_machine("numpy", "pyscf") | {"units": units}
    rows: list[dict] = []
    for name in options.molecules:
        atoms, model = build_geometry(name), DisturbedLabels()
        atoms.rattle(0.05, seed=1)
        converged = prepare_scf(build_molecule(atoms, 0, SETTINGS.basis), SETTINGS)
        converged.kernel()
        reference = converged, converged.nuc_grad_method().kernel()
        for model.kind, amounts in ERRORS.items():
            for model.amount in amounts:
                rows.append({"molecule": name, "error": model.kind, "amount": model.amount, **measure(atoms, model, reference)})
                print(rows[-1], flush=True)
                write_result(options.out, facts | {"rows": rows})


if __name__ == "__main__":
    main()
