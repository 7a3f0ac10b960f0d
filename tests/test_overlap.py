import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ase_tracegrad import overlap, radial_integrals
from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, Shell, TabulatedRadial
from ase_tracegrad.conventions import PYSCF
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.radial_integrals import closed_integrals, numerical_integrals
from ase_tracegrad.structure import Structure, StructureError
from ase_tracegrad.units import BOHR


def gaussian(l: int, *exponents: float) -> Shell:
    return Shell(l, GaussianRadial(l, np.array(exponents), np.linspace(1, 0.4, len(exponents))))


def make_basis() -> Basis:
    """Made-up Gaussians, s to f, on two elements."""
    first = (gaussian(0, 2.0, 0.7), gaussian(0, 0.6), gaussian(1, 1.1), gaussian(2, 1.3), gaussian(3, 1.6))
    second = (gaussian(0, 3.0, 0.9), gaussian(1, 0.8))
    return Basis({z: AtomicBasis(z, tuple(s.l for s in shells), shells) for z, shells in ((6, first), (1, second))}, "made up")


@pytest.fixture(scope="module")
def basis() -> Basis:
    return make_basis()


def pyscf_molecule(atoms: Atoms, basis: Basis):
    """The same orbitals in PySCF, which takes coefficients of normalised primitives and Bohr."""
    gto = pytest.importorskip("pyscf.gto")
    shells = {}
    for symbol, z in {(a.symbol, a.number) for a in atoms}:
        shells[symbol] = [
            [
                s.l,
                *[[e * BOHR**2, c / gto.gto_norm(s.l, e)] for e, c in zip(s.radial.exponents, s.radial.coefficients, strict=True)],
            ]
            for s in basis[z].shells
        ]
    positions = atoms.positions / BOHR
    return gto.M(atom=list(zip(atoms.symbols, positions, strict=True)), basis=shells, unit="B", spin=None, verbose=0)


def in_our_order(matrix: np.ndarray, layout) -> np.ndarray:
    gather = np.concatenate(
        [start + PYSCF.to_ours(shells)[0] for start, shells in zip(layout.offsets, layout.shells, strict=False)]
    )
    return matrix[np.ix_(gather, gather)]


def test_a_molecule_against_pyscf(basis):
    atoms = molecule("C2H4")
    atoms.rattle(0.1, seed=4)
    ours = compute_overlap(atoms, basis)
    theirs = in_our_order(pyscf_molecule(atoms, basis).intor("int1e_ovlp_sph"), ours.layout)
    assert np.abs(ours.bloch([0, 0, 0])[0] - theirs).max() < 1e-9


def test_a_crystal_against_pyscf_image_by_image(basis):
    gto = pytest.importorskip("pyscf.gto")
    atoms = Atoms("CH", positions=[[0, 0, 0], [0.2, 0.3, 1.1]], cell=[[2.4, 0, 0], [0.5, 2.6, 0], [0.1, -0.2, 3.0]], pbc=True)
    ours = compute_overlap(atoms, basis)
    home = pyscf_molecule(atoms, basis)
    for shift in [(0, 0, 0), (1, 0, 0), (-1, 1, 0), (0, 1, -1), (2, -2, 1)]:
        moved = atoms.copy()
        moved.positions += shift @ atoms.cell.array
        theirs = in_our_order(gto.intor_cross("int1e_ovlp_sph", home, pyscf_molecule(moved, basis)), ours.layout)
        for i in range(2):
            for j in range(2):
                a, b = ours.layout.offsets[[i, j]]
                block = theirs[a : a + ours.layout.sizes[i], b : b + ours.layout.sizes[j]]
                assert np.abs(ours.block(i, j, shift) - block).max() < 1e-9


def test_core_orbitals_of_an_all_electron_basis_against_pyscf():
    """Exponents up to 2300 / Bohr^2 stress the q grid and the spline."""
    gto = pytest.importorskip("pyscf.gto")
    atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0.2, 0.95]])
    published = {symbol: gto.basis.load("def2-svp", symbol) for symbol in "OH"}
    elements = {}
    for symbol, z in (("O", 8), ("H", 1)):
        shells = []
        for l, *rows in published[symbol]:
            exponents, coefficients = np.array(rows).T
            shells.append(Shell(l, GaussianRadial(l, exponents / BOHR**2, coefficients * gto.gto_norm(l, exponents))))
        elements[z] = AtomicBasis(z, tuple(s.l for s in shells), tuple(shells))
    ours = compute_overlap(atoms, Basis(elements))
    theirs = gto.M(
        atom=list(zip(atoms.symbols, atoms.positions / BOHR, strict=True)), basis="def2-svp", unit="B", spin=1, verbose=0
    )
    assert np.abs(ours.bloch([0, 0, 0])[0] - in_our_order(theirs.intor("int1e_ovlp_sph"), ours.layout)).max() < 1e-9


def test_radial_integrals_in_closed_form(basis):
    """Equal to the quadrature in q that tabulated orbitals take."""
    distances = np.linspace(0.4, 6.0, 15)
    for a, b in ((6, 6), (6, 1), (1, 6)):
        step = np.pi / (1.25 * (basis[a].reach + basis[b].reach))
        first, second = overlap.find_radials(basis[a]), overlap.find_radials(basis[b])
        difference = closed_integrals(first, second)(distances) - numerical_integrals(first, second, step, "")(distances)
        assert np.abs(difference).max() < 1e-12


@pytest.mark.parametrize("points", [400, 1200])
def test_tabulated_twins_of_the_gaussians(basis, points):
    """The error is that of the cubic spline through the table, of fourth order in its step."""

    def tabulated(atom: AtomicBasis) -> AtomicBasis:
        shells = []
        for shell in atom.shells:
            r = np.linspace(0, shell.reach, points)
            shells.append(Shell(shell.l, TabulatedRadial(shell.l, r, shell.radial(r))))
        return AtomicBasis(atom.number, atom.angular_momenta, tuple(shells))

    atoms = graphene(vacuum=4.0)
    atoms.symbols[1] = "H"
    exact = compute_overlap(atoms, basis)
    twin = compute_overlap(atoms, Basis({z: tabulated(a) for z, a in basis.atoms.items()}))
    assert twin.index.keys() == exact.index.keys()
    assert np.abs((twin - exact).values).max() < 1e-8 * (1200 / points) ** 4 / 10


def test_mixed_gaussian_and_tabulated_elements(basis):
    r = np.linspace(0, basis[1].reach, 1500)
    table = tuple(Shell(s.l, TabulatedRadial(s.l, r, s.radial(r))) for s in basis[1].shells)
    mixed = Basis({6: basis[6], 1: AtomicBasis(1, basis[1].angular_momenta, table)})
    atoms = molecule("CH4")
    difference = compute_overlap(atoms, mixed).bloch([0, 0, 0]) - compute_overlap(atoms, basis).bloch([0, 0, 0])
    assert np.abs(difference).max() < 1e-8


def test_the_same_site_is_orthonormal_between_m_and_exact_between_shells(basis):
    block = compute_overlap(Atoms("C"), basis).block(0, 0)
    assert np.abs(np.diag(block) - 1).max() < 1e-12
    # Int r^2 exp(-(a + b) r^2) dr = sqrt(pi) / (4 (a + b)^(3/2))
    first, second = (s.radial for s in basis[6].shells[:2])
    expected = np.sum(first.coefficients * second.coefficients * np.sqrt(np.pi) / (4 * (first.exponents + second.exponents) ** 1.5))
    assert block[0, 1] == pytest.approx(expected, abs=1e-13)
    block[0, 1] = block[1, 0] = 0
    assert np.abs(block - np.eye(17)).max() < 1e-12


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, False), (False, False, False)])
def test_hermitian_and_positive_definite(basis, pbc):
    atoms = bulk("C", a=3.57)
    atoms.pbc = pbc
    atoms.rattle(0.1, seed=1)
    matrix = compute_overlap(atoms, basis)
    assert matrix.hermiticity_residual() == 0
    kpts = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 3)) * pbc
    smallest = np.linalg.eigvalsh(matrix.bloch(kpts)).min()
    assert smallest > 0


@given(seed=st.integers(0, 10**6), improper=st.booleans())
def test_blocks_rotate_with_the_crystal(basis, seed, improper):
    rotation = Rotation.random(random_state=seed).as_matrix() * (-1 if improper else 1)
    rng = np.random.default_rng(seed)
    structure = Structure([6, 1], [[0, 0, 0], [0.3, 0.5, 1.2]] + rng.uniform(-0.2, 0.2, (2, 3)), np.diag([4.0, 5, 6]), [True] * 3)
    turned = Structure(structure.numbers, structure.positions @ rotation.T, structure.cell @ rotation.T, structure.pbc)
    before, after = compute_overlap(structure, basis), compute_overlap(turned, basis)
    matrices = [before.layout.rotation(i, rotation) for i in range(2)]
    residual = max(np.abs(matrices[i] @ block @ matrices[j].T - after.block(i, j, r)).max() for (i, j, r), block in before.items())
    assert residual < 1e-9


def test_a_supercell_repeats_the_primitive_blocks(basis):
    atoms = bulk("C", a=3.57)
    small, large = compute_overlap(atoms, basis), compute_overlap(atoms * (2, 1, 1), basis)
    for (i, j, (r1, r2, r3)), block in small.items():
        cell, image = r1 % 2, r1 // 2
        assert np.abs(large.block(i, j + 2 * cell, (image, r2, r3)) - block).max() < 1e-12


def test_what_lies_beyond_the_reach_is_negligible(basis):
    """Orbitals a little farther apart than the sum of their reaches overlap by less than 1e-8."""
    reach = basis[6].reach
    distant = Atoms("C2", positions=[[0, 0, 0], [0, 0, 2 * reach - 1e-3]])
    assert np.abs(compute_overlap(distant, basis).block(0, 1)).max() < 1e-8
    distant.positions[1, 2] = 2 * reach + 1e-3
    assert len(compute_overlap(distant, basis)) == 2


def test_equal_bases_share_one_table(monkeypatch):
    expected = compute_overlap(molecule("CH4"), make_basis())
    monkeypatch.setattr(overlap, "build_table", lambda *_: pytest.fail("the table was built again"))
    assert np.array_equal(compute_overlap(molecule("CH4"), make_basis()).values, expected.values)


def test_an_orbital_too_sharp_for_the_integration_is_reported(monkeypatch, caplog):
    radial = gaussian(0, 900.0, 1.23).radial
    r = np.concatenate([np.linspace(0, 0.3, 200), np.linspace(0.31, radial.reach, 400)])
    sharp = Basis({6: AtomicBasis(6, (0,), (Shell(0, TabulatedRadial(0, r, radial(r))),))})
    monkeypatch.setattr(radial_integrals, "LARGEST_Q", 20.0)
    compute_overlap(Atoms("C2", positions=[[0, 0, 0], [0, 0, 1.5]]), sharp)
    assert "of an orbital's norm lies beyond" in caplog.text
    caplog.clear()
    monkeypatch.setattr(overlap, "_tables", {})
    monkeypatch.setattr(radial_integrals, "LARGEST_Q", 400.0)
    compute_overlap(Atoms("C2", positions=[[0, 0, 0], [0, 0, 1.5]]), sharp)
    assert not caplog.text


def test_a_basis_without_radial_functions_is_refused():
    with pytest.raises(ValueError, match="radial functions of element 6"):
        compute_overlap(Atoms("C"), Basis({6: AtomicBasis(6, (0, 1))}))


def test_unknown_elements_and_impossible_structures_are_refused(basis):
    with pytest.raises(KeyError, match="no orbitals for element 8"):
        compute_overlap(Atoms("O"), basis)
    with pytest.raises(StructureError, match=r"0.100 Angstrom apart"):
        compute_overlap(Atoms("C2", positions=[[0, 0, 0], [0, 0, 0.1]]), basis)
