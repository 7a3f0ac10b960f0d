"""The embedded models of molecules on methanol, which is in the test split: against PySCF."""

import pytest
from ase.build import molecule

from ase_tracegrad.fit.metrics import hamiltonian_error
from ase_tracegrad.fit.orbital_errors import orbital_errors
from ase_tracegrad.nn.predictor import load_model
from ase_tracegrad.scf import initial_density

pytest.importorskip("pyscf", reason="PySCF makes the labels: pip install 'ase_tracegrad[molecules]'")


@pytest.fixture(scope="module")
def label():
    from ase_tracegrad.labels.pyscf import compute_molecule_labels

    return compute_molecule_labels(molecule("CH3OH"))


@pytest.mark.parametrize(
    ("name", "elements", "levels"), [("molecules-b3lyp", 20, 150), ("molecules-b3lyp-delta", 10, 80)], ids=["H", "delta"]
)
def test_an_unseen_molecule(label, name, elements, levels):
    """H and the occupied orbitals within bounds (meV) that are three times what the models reach on the test split."""
    predictor = load_model(name)
    (found,) = predictor.predict([label.structure])
    errors = orbital_errors(found, label)
    assert hamiltonian_error(found, label).all < elements
    assert errors["epsilon"] < levels
    assert errors["homo"] < 2 * levels
    assert errors["psi"] > 0.98


def test_an_scf_from_it_is_shorter(label):
    from ase_tracegrad.labels.pyscf import QH9_SETTINGS, build_molecule, prepare_scf

    mol = build_molecule(molecule("CH3OH"), 0, QH9_SETTINGS.basis)
    cycles = []
    for guess in (None, "molecules-b3lyp-delta"):
        calculation = prepare_scf(mol, QH9_SETTINGS)
        energy = calculation.kernel(dm0=None if guess is None else initial_density(calculation, guess))
        cycles.append((calculation.cycles, energy))
    assert cycles[1][0] < cycles[0][0]
    assert cycles[1][1] == pytest.approx(cycles[0][1], abs=1e-6)
