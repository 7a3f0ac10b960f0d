"""dH/du, and electron-phonon matrix elements against displaced crystals and CP2K."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from phonopy import Phonopy

from ase_tracegrad import TraceGradCalculator, available_models, compute_bands
from ase_tracegrad.electronic.eigen import solve_bloch
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.structure import Structure
from ase_tracegrad.thermal.coupling import compute_couplings
from ase_tracegrad.thermal.derivatives import compute_derivatives, orbital_gradients
from ase_tracegrad.thermal.phonons import compute_force_constants, to_phonopy
from tests.calculator_cases import EMBEDDED
from tests.thermal.conftest import Springs

DATA = Path(__file__).parents[1] / "data"
STEP = 1e-3  # Angstrom, of the displaced crystals that the derivatives are compared with


@pytest.fixture(scope="module")
def derivatives(hueckel, diamond_atoms):
    return compute_derivatives(hueckel, diamond_atoms, (3, 3, 3), distance=1e-3)


@pytest.fixture(scope="module")
def primitive(hueckel, diamond_atoms):
    return hueckel.electronic_structure(diamond_atoms).sums()


def test_symmetry_gives_what_is_not_computed(hueckel, derivatives):
    """One displacement of diamond, both signs, stands for six directions of two atoms."""
    assert derivatives.displaced == 2
    rng = np.random.default_rng(0)
    for atom in range(2):
        direction = rng.normal(size=3)
        samples = []
        for sign in (1, -1):
            moved = derivatives.supercell.copy()
            moved.positions[atom] += sign * STEP * direction
            samples.append(hueckel.sample(moved))
        for kind in ("hamiltonian", "overlap"):
            expected = (0.5 / STEP) * (getattr(samples[0], kind) - getattr(samples[1], kind))
            along = getattr(derivatives, kind)[atom]
            found = direction[0] * along[0] + direction[1] * along[1] + direction[2] * along[2]
            assert np.abs((found - expected).values).max() < 1e-3 * np.abs(expected.values).max()


def test_orbital_gradients(hueckel):
    """<phi_i|d phi_j> is antisymmetric, and between s and p along their axis only."""
    gradient = orbital_gradients(hueckel.predictor.basis, 6)
    assert np.allclose(gradient, -gradient.transpose(0, 2, 1), atol=1e-6)
    along = np.abs(gradient[:, 0, 1:])  # p in the order y, z, x
    assert (along > 0.1).tolist() == [[False, False, True], [True, False, False], [False, True, False]]


def test_diagonal_elements_are_derivatives_of_the_bands(hueckel, diamond, diamond_atoms, derivatives, primitive):
    k = np.array([[0.11, 0.23, 0.37]])
    found = compute_couplings(derivatives, primitive, diamond, k, [[0, 0, 0]], np.arange(8))
    for atom, axis in ((0, 0), (1, 2)):
        energies = []
        for sign in (1, -1):
            moved = diamond_atoms.copy()
            moved.positions[atom, axis] += sign * STEP
            energies.append(hueckel.electronic_structure(moved).energies(k)[0])
        slope = (energies[0] - energies[1]) / (2 * STEP)
        assert np.diagonal(found.cartesian[0, 0, atom, axis]).real == pytest.approx(slope, abs=2e-3)
        assert np.abs(np.diagonal(found.cartesian[0, 0, atom, axis]).imag).max() < 1e-6


def test_rigid_translations_couple_nothing(diamond, derivatives, primitive):
    """All atoms together at q = 0: dV = 0 but for the identity i (k_m - k_n), so no matrix element between bands at one k."""
    found = compute_couplings(derivatives, primitive, diamond, [[0.11, 0.23, 0.37]], [[0, 0, 0]], np.arange(8))
    assert np.abs(np.diagonal(found.cartesian.sum(axis=2)[0, 0], axis1=1, axis2=2)).max() < 1e-3
    assert np.abs(found.modes[0, 0, :3]).max() == 0
    assert np.abs(found.modes[0, 0, 3:]).max() > 0.01


def test_phonons_of_other_axes_or_order_are_refused(diamond_atoms, derivatives, primitive):
    """Their modes would be taken for others, and nobody would see it."""
    turned = diamond_atoms.copy()
    turned.rotate(30, "z", rotate_cell=True)
    swapped, moved = diamond_atoms[[1, 0]], diamond_atoms.copy()
    swapped.numbers[0] = 14
    moved.positions[1] += [0.5, 0, 0]
    for other in (turned, swapped, moved):
        phonons = Phonopy(to_phonopy(other), np.eye(3, dtype=int), primitive_matrix="P")
        with pytest.raises(ValueError, match="another primitive cell"):
            compute_couplings(derivatives, primitive, phonons, [[0, 0, 0]], [[0, 0, 0]], [3])


# phonopy finds fewer operations in the turned cell than in the primitive one.
@pytest.mark.filterwarnings("ignore:Warning. Point group symmetries of supercell")
def test_turned_supercells_give_the_same_elements(hueckel):
    """Graphene in 5x5 cells, and in 48 cells with axes turned by 30 degrees, whose first one ASE puts away from the origin."""
    sheet = graphene(a=2.46, vacuum=None)
    sheet.cell[2], sheet.pbc = [0, 0, 10.0], True
    phonons = compute_force_constants(sheet, Springs(((1.4203, 28.0), (2.46, 4.0))), (3, 3, 1))
    sums, found = hueckel.electronic_structure(sheet).sums(), []
    for supercell in ((5, 5, 1), [[8, 4, 0], [-4, 4, 0], [0, 0, 1]]):
        derivatives = compute_derivatives(hueckel, sheet, supercell, distance=1e-3)
        elements = compute_couplings(derivatives, sums, phonons, [[0.13, 0.29, 0]], [[0.21, 0.07, 0]], np.arange(6))
        found.append(np.abs(elements.cartesian))
    assert np.abs(found[1] - found[0]).max() < 1e-5 * found[0].max()


def test_long_waves_are_strains(hueckel, diamond, diamond_atoms, derivatives, primitive):
    """At an edge, |<n, k+q| sum_a exp(i q.x_a) dV_a |n, k>| / |q| goes to dE_n / d strain as q goes to 0.

    Elsewhere (e_m - e_n) <m|d n> comes to it, which vanishes with the velocity (F. S. Khan, P. B. Allen, Phys. Rev. B 29, 3341
    (1984)).
    """
    edge, small, band = np.array([[0.5, 0.5, 0.5]]), 1e-4, 0
    q = diamond_atoms.cell.array @ [0.01, 0, 0] / (2 * np.pi)
    found = compute_couplings(derivatives, primitive, diamond, edge, [q], [band])
    phases = np.exp(2j * np.pi * diamond_atoms.get_scaled_positions(wrap=False) @ q)
    energies = []
    for sign in (1, -1):
        strained = diamond_atoms.copy()
        strained.set_cell(diamond_atoms.cell.array * [1 + sign * small, 1, 1], scale_atoms=True)
        energies.append(hueckel.electronic_structure(strained).energies(edge)[0, band])
    strain = (energies[0] - energies[1]) / (2 * small)
    assert abs(phases @ found.cartesian[0, 0, :, 0, 0, 0]) / 0.01 == pytest.approx(abs(strain), rel=1e-3)


def test_equivalent_waves_couple_alike(diamond, diamond_atoms, derivatives, primitive):
    """|g|^2 of k and q that the space group turns into each other, and of k + q, -q, with the bands exchanged."""
    group = find_space_group(Structure.from_atoms(diamond_atoms))
    k, q, bands = np.array([0.13, 0.29, 0.41]), np.array([0.21, 0.07, 0.35]), np.arange(8)

    def square(kpt, wave):
        return np.abs(compute_couplings(derivatives, primitive, diamond, [kpt], [wave], bands).modes[0, 0]) ** 2

    expected = square(k, q)
    for turn in group.reciprocal_rotations[[7, 30]]:
        assert square(turn @ k, turn @ q) == pytest.approx(expected, abs=1e-4 * expected.max())
    assert square(k + q, -q) == pytest.approx(expected.transpose(0, 2, 1), abs=1e-9 * expected.max())


def test_splitting_of_folded_bands(hueckel, diamond, diamond_atoms, derivatives, primitive):
    """A frozen wave of q = (1/2, 0, 0) splits the states at -q/2 and q/2, which are degenerate, by 2 |g| u."""
    q, k = np.array([0.5, 0, 0]), np.array([[-0.25, 0.0, 0.0]])
    found = compute_couplings(derivatives, primitive, diamond, k, [q], [0])
    assert found.energies[0, 0] == pytest.approx(found.final_energies[0, 0, 0], abs=1e-9)
    double = diamond_atoms * (2, 1, 1)
    for atom, axis in ((0, 0), (1, 1)):
        moved = double.copy()
        moved.positions[atom, axis] += STEP
        moved.positions[atom + 2, axis] -= STEP
        levels = np.sort(solve_bloch(hueckel.electronic_structure(moved).sums(), [[0.5, 0, 0]]).energies[0])[:2]
        assert levels[1] - levels[0] == pytest.approx(2 * STEP * abs(found.cartesian[0, 0, atom, axis, 0, 0]), rel=0.01, abs=1e-6)


def test_file(diamond, derivatives, primitive, tmp_path):
    found = compute_couplings(derivatives, primitive, diamond, [[0, 0, 0]], [[0.1, 0, 0], [0, 0, 0]], [3, 4])
    found.write(tmp_path / "couplings.npz")
    with np.load(tmp_path / "couplings.npz", allow_pickle=False) as stored:
        assert stored["modes"].shape == (2, 1, 6, 2, 2)
        assert np.array_equal(stored["cartesian"], found.cartesian)


@pytest.mark.skipif(EMBEDDED not in available_models(), reason="the embedded graphene model is not there")
def test_derivative_of_graphene_against_cp2k():
    """Central difference of CP2K's H and bands for one displaced atom, and the model's for the same."""
    with StoreReader(DATA / "graphene_displacement.h5") as store:
        labels, distance = [store[name] for name in ("ahead", "back")], store.info["displacement"]
    calc = TraceGradCalculator(EMBEDDED, dtype="float64")
    samples = []
    for label in labels:
        s = label.structure
        samples.append(calc.sample(Atoms(s.numbers, s.positions, cell=s.cell, pbc=True)))
    scale = 0.5 / distance
    expected, found = (scale * (a.hamiltonian - b.hamiltonian) for a, b in (labels, samples))
    overlap = scale * (labels[0].overlap - labels[1].overlap)
    assert np.abs((overlap - scale * (samples[0].overlap - samples[1].overlap)).values).max() < 1e-4
    error = np.linalg.norm((found - expected).values) / np.linalg.norm(expected.values)
    assert error < 0.1
    # Bands do not see the energy zero, which is free in H.
    kpts = [[0, 0, 0], [0.5, 0, 0], [0.25, 0.1, 0]]
    slopes = [scale * (_bands(a, kpts) - _bands(b, kpts)) for a, b in (labels, samples)]
    assert np.abs(slopes[0] - slopes[1]).max() < 0.1 * np.abs(slopes[0]).max()


def _bands(sample, kpts):
    return compute_bands(sample.hamiltonian, sample.overlap, kpts)[:, :6]
