"""Densities as the start of a PySCF calculation: true Hamiltonians converge at once; what does not fit is refused."""

import numpy as np
import pytest
from ase.build import molecule

from ase_tracegrad.basis import Basis
from ase_tracegrad.batching import OutOfDomainWarning
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.io.def2_svp import atom_of_shells
from ase_tracegrad.io.qh9 import pyscf_gather
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.labels.pyscf import (
    QH9_SETTINGS,
    OpenShellError,
    build_molecule,
    compute_molecule_labels,
    prepare_scf,
    read_shells,
)
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.scf import BasisMismatchError, FunctionalWarning, PyscfObject, hamiltonian_density, initial_density
from ase_tracegrad.units import HARTREE
from tests.molecule_model import HueckelMolecules

gto = pytest.importorskip("pyscf.gto", reason="PySCF is not installed")
pytestmark = pytest.mark.usefixtures("tidy_pyscf")
WATER = "O 0 0 0.12; H 0 0.76 -0.48; H 0.1 -0.76 -0.48"


@pytest.fixture(scope="module")
def water(tidy_pyscf):
    return compute_molecule_labels(molecule("H2O"))


def make_molecule(atom=WATER, basis="def2-svp", **settings):
    return gto.M(atom=atom, basis=basis, verbose=0, **settings)


def make_scf(atoms=None):
    return prepare_scf(build_molecule(molecule("H2O") if atoms is None else atoms, 0, "def2-SVP"), QH9_SETTINGS)


def test_the_true_hamiltonian_converges_at_once(water):
    calculation = make_scf()
    calculation.kernel(dm0=hamiltonian_density(calculation, water))
    assert calculation.converged
    assert calculation.cycles <= 2 < water.info["scf_steps"]
    assert calculation.e_tot * HARTREE == pytest.approx(water.info["total_energy"], abs=1e-6 * HARTREE)


def test_the_density_of_a_model():
    """Idempotent, with the electrons of the molecule; PySCF takes it and converges to the same energy; the mole alone will do."""
    calculation, model = make_scf(), HueckelMolecules()
    density, overlap = initial_density(calculation, model), calculation.get_ovlp()
    assert np.abs(density @ overlap @ density - 2 * density).max() < 1e-10
    assert np.trace(density @ overlap) == pytest.approx(10.0, abs=1e-10)
    assert np.array_equal(initial_density(calculation.mol, model), density)
    assert calculation.kernel(dm0=density) == pytest.approx(make_scf().kernel(), abs=1e-8)


def test_orbitals_are_in_the_order_of_pyscf(water):
    """Atoms in another order and turned give the same SCF: nothing of order or sign is left to chance."""
    atoms = molecule("H2O")[[1, 0, 2]]
    atoms.rotate(37, (1, 2, 3))
    calculation = make_scf(atoms)
    calculation.kernel(dm0=hamiltonian_density(calculation, compute_molecule_labels(atoms)))
    assert calculation.cycles <= 2
    with pytest.raises(ValueError, match="other positions or another order"):
        hamiltonian_density(calculation, water)


def test_a_charge_is_honoured():
    hydroxide = make_molecule("O 0 0 0; H 0 0 0.97", charge=-1)
    with pytest.warns(OutOfDomainWarning, match="charge -1, of which the model knows nothing"):
        density = initial_density(hydroxide, HueckelMolecules())
    assert np.trace(density @ hydroxide.intor("int1e_ovlp")) == pytest.approx(10.0)


def test_another_functional_is_warned_about():
    calculation = make_molecule().RKS(xc="pbe")
    with pytest.warns(FunctionalWarning, match="'pbe', the model was trained on 'b3lyp5'"):
        initial_density(calculation, HueckelMolecules())
    initial_density(make_molecule().RKS(xc="B3LYP5"), HueckelMolecules())  # another spelling is no other functional
    with pytest.warns(FunctionalWarning, match="'HF'"):
        initial_density(make_molecule().RHF(), HueckelMolecules())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"atom": "O 0 0 0; H 0 0 0.97", "spin": 1}, OpenShellError, "9 electrons and spin 1: radicals"),
        ({"atom": "O 0 0 0; O 0 0 1.2", "spin": 2}, OpenShellError, "16 electrons and spin 2"),
        ({"basis": "6-31g"}, BasisMismatchError, r"atom 0 \(O\) has shells of l = \[0, 0, 0, 1, 1\].*use the basis 'def2-SVP'"),
        ({"basis": {"O": "def2-svp", "H": "cc-pvdz"}}, BasisMismatchError, r"atom 1 \(H\).*other radial functions"),
        ({"cart": True}, ValueError, "cart=True"),
        ({"atom": "I 0 0 0; H 0 0 1.6", "ecp": "def2-svp"}, UnsupportedStructureError, "not"),
        ({"atom": "O 0 0 0; ghost-H 0 0 1"}, ValueError, "atom 1 is 'GHOST-H'"),
    ],
)
def test_what_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        initial_density(make_molecule(**settings), HueckelMolecules())


def test_effective_core_potentials_are_refused():
    calculation = make_molecule(ecp={"O": gto.basis.parse_ecp("O nelec 2\nO ul\n2 1.0 0.0\nO S\n2 1.0 0.0")})
    with pytest.raises(BasisMismatchError, match=r"nuclear charge 6 .*counts 8 electrons: effective core potentials"):
        initial_density(calculation, HueckelMolecules())


def test_unsuitable_objects():
    with pytest.raises(TypeError, match=r"expected a restricted closed-shell calculation.*found UKS"):
        initial_density(make_molecule().UKS(), HueckelMolecules())
    with pytest.raises(TypeError, match="found Atoms"):
        initial_density(molecule("H2O"), HueckelMolecules())


def make_chain():
    """KRKS of a chain of H2 along z, 3 k-points; s and p functions."""
    from pyscf.pbc import dft
    from pyscf.pbc import gto as pbc

    cell = pbc.M(
        atom="H 0 0 0.1; H 0.1 0.3 0.9",
        a=[[4.0, 0.0, 0.0], [0.2, 4.0, 0.0], [0.0, 0.0, 2.1]],
        basis={"H": [[0, [1.5, 0.5], [0.4, 0.6]], [1, [0.8, 1.0]]]},
        precision=1e-7,
        verbose=0,
    )
    return dft.KRKS(cell, cell.make_kpts([1, 1, 3]), xc="lda,vwn")


def sample_of_crystal(calculation) -> Sample:
    """H(R) of a converged KRKS, on the cells that its three k-points distinguish."""
    basis = Basis({1: atom_of_shells(1, read_shells(calculation.cell)[0])}, "own", "PySCF", "lda,vwn")
    layout = basis.layout([1, 1])
    gather, kpts = pyscf_gather(layout), calculation.cell.get_scaled_kpts(calculation.kpts)
    cells = [[0, 0, r] for r in (-1, 0, 1)]

    def transform(matrices) -> BlockMatrix:
        phases = np.exp(-2j * np.pi * np.array(cells) @ kpts.T) / len(kpts)
        return BlockMatrix.from_dense(layout, cells, np.einsum("rk,kij->rij", phases, matrices).real[:, gather][:, :, gather])

    structure = PyscfObject(calculation).structure
    return Sample(structure, basis, transform(HARTREE * calculation.get_fock()), transform(calculation.get_ovlp()))


def test_a_crystal_converges_at_once():
    chain = make_chain()
    chain.kernel()
    again = make_chain()
    density = hamiltonian_density(again, sample_of_crystal(chain))
    assert np.abs(density - chain.make_rdm1()).max() < 1e-5
    again.kernel(dm0=density)
    assert again.cycles == 1 < chain.cycles
    assert again.e_tot == pytest.approx(chain.e_tot, abs=1e-9)
    with pytest.raises(TypeError, match="pass the KRKS or KRHF object, not the cell"):
        initial_density(chain.cell, HueckelMolecules())
