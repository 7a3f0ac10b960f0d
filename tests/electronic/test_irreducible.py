"""Irreducible k-points of Hamiltonians with less symmetry than their crystal: magnetic, chiral, with spin-orbit coupling."""

import numpy as np
import pytest

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.irreducible import reduce_by_time_reversal, reduce_mesh
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.occupations import find_fermi_level
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import covariance_residuals
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.structure import Structure
from tests.electronic.lattice_models import haldane_model, rashba_model, unit_overlap

SQUARE = Structure([6], [[0, 0, 6.0]], np.diag([2.5, 2.5, 12.0]), [True, True, False])
# Model, whether k and -k have the same energies, and how many operations of the crystal it has.
MODELS = {
    "Haldane": (lambda s: haldane_model(s), False, 6),
    "Haldane without mass": (lambda s: haldane_model(s, mass=0.0), True, 12),
    "mass alone": (lambda s: haldane_model(s, second=0.0), True, 12),
    "Rashba": (lambda s: rashba_model(s), True, 12),
    "Rashba, field along z": (lambda s: rashba_model(s, exchange=(0, 0, 0.3)), True, 6),
    "Rashba, field along x": (lambda s: rashba_model(s, exchange=(0.3, 0, 0)), False, 2),
    "Rashba, field anywhere": (lambda s: rashba_model(s, exchange=(0.3, 0.1, 0.2)), False, 1),
    "field alone": (lambda s: rashba_model(s, strength=0.0, exchange=(0.3, 0.1, 0.2)), True, 2),
}


@pytest.fixture(params=MODELS)
def model(request, graphene_structure):
    make, even, order = MODELS[request.param]
    return *make(graphene_structure), graphene_structure, even, order


def test_the_models_are_what_they_are_meant_to_be(model, kpts):
    h, _, structure, even, order = model
    assert h.is_hermitian(1e-12)
    assert (covariance_residuals(h, find_space_group(structure)) < 1e-9).sum() == order
    difference = np.abs(compute_bands(h, None, kpts) - compute_bands(h, None, -kpts)).max()
    assert (difference < 1e-10) == even


@pytest.mark.parametrize("gamma", [True, False])
@pytest.mark.parametrize("size", [(6, 6, 1), (5, 5, 1), (4, 6, 1)])
def test_reduction_is_never_wrong(model, size, gamma):
    h, _, structure, _, order = model
    full = make_mesh(size, gamma=gamma, time_reversal=False)
    expected = compute_bands(h, None, full.kpts)
    for mesh in (full, make_mesh(size, gamma=gamma)):
        reduced = reduce_mesh(mesh, BlochSum(h, unit_overlap(h)), structure)
        found = compute_bands(h, None, reduced.kpts)[reduced.full_to_irreducible]
        assert np.abs(found - expected).max() < 1e-9
        assert abs(reduced.weights.sum() - 1) < 1e-12
        counts = np.bincount(reduced.full_to_irreducible) / len(full)
        assert np.abs(counts - reduced.weights).max() < 1e-12
        if order > 1 and size == (5, 5, 1):
            assert len(reduced) < len(full), "what symmetry there is is used"


def test_a_square_lattice_with_rashba_coupling():
    """Eight operations of the sixteen: the mirror in the plane and all with it are lost."""
    h, _ = rashba_model(SQUARE)
    full = make_mesh((8, 8, 1), gamma=True, time_reversal=False)
    mesh = reduce_mesh(full, BlochSum(h, unit_overlap(h)), SQUARE)
    assert len(mesh) == 15
    assert np.abs(compute_bands(h, None, mesh.kpts)[mesh.full_to_irreducible] - compute_bands(h, None, full.kpts)).max() < 1e-10


def test_time_reversal_is_verified(graphene_structure):
    mesh = make_mesh((6, 6, 1))
    for h, kept in ((haldane_model(graphene_structure)[0], 36), (rashba_model(graphene_structure)[0], 18)):
        assert len(reduce_by_time_reversal(mesh, h, None)) == kept
        assert len(reduce_by_time_reversal(mesh, h, unit_overlap(h))) == kept


@pytest.mark.parametrize("size", [(4, 4, 1), (7, 7, 1)])
def test_a_magnetic_sample_on_a_mesh_that_was_reduced_by_time_reversal(model, size):
    """Users' meshes keep one of k and -k; the Fermi level, density of states and gap must not suffer from it."""
    h, _, structure, _, _ = model
    n_electrons = 2.0 if h.spin == "spinor" else 2.3
    basis = Basis({6: AtomicBasis(6, (0,), (), 1.0)})
    sample = ElectronicStructure(Sample(structure, basis, h, unit_overlap(h), {"n_electrons": n_electrons}))
    full, grid = make_mesh(size, time_reversal=False), np.linspace(-4, 4, 81)
    energies = compute_bands(h, None, full.kpts)
    degeneracy = 1 if h.spin == "spinor" else 2
    kwargs = {"spin_degeneracy": degeneracy, "method": "fermi-dirac", "width": 0.05}
    expected = find_fermi_level(energies, full.weights, n_electrons, **kwargs)
    mesh = make_mesh(size)
    assert sample.find_fermi_level(mesh, width=0.05) == pytest.approx(expected, abs=1e-8)
    direct = sample._broaden(full, energies, grid, 0.2)
    assert np.abs(sample.compute_dos(mesh, grid, width=0.2) - direct).max() < 1e-8
    assert np.abs(sample.compute_dos(mesh, grid, width=0.0) - sample._broaden(full, energies, grid, 0.0)).max() < 1e-6
    populations = [sample.compute_populations(points, width=0.05).electrons for points in (mesh, full)]
    assert np.abs(populations[0] - populations[1]).max() < 1e-9
    parts, _ = sample.compute_projected_dos(mesh, grid, by="atom", width=0.2)
    assert np.abs(parts.sum(axis=0) - direct).max() < 1e-8


def test_the_gap_of_a_magnetic_insulator_has_both_valleys(graphene_structure, caplog):
    """K and -K have the direct gaps 2 |mass -+ 3 sqrt(3) second|; half a mesh can miss the smaller one."""
    h, _ = haldane_model(graphene_structure, mass=0.3, second=0.15)
    basis = Basis({6: AtomicBasis(6, (0,), (), 1.0)})
    structure = ElectronicStructure(Sample(graphene_structure, basis, h, unit_overlap(h), {"n_electrons": 2.0}))
    expected = 2 * abs(0.3 - 3 * np.sqrt(3) * 0.15)
    full = make_mesh((6, 6, 1), gamma=True, time_reversal=False)
    valleys = [compute_bands(h, None, [[x, x, 0]])[0] for x in (1 / 3, -1 / 3)]
    assert np.sort([e[1] - e[0] for e in valleys]) == pytest.approx([expected, 2 * (0.3 + 3 * np.sqrt(3) * 0.15)])
    for mesh in (make_mesh((6, 6, 1), gamma=True), full):
        with caplog.at_level("INFO"):
            gap = structure.find_band_gap(mesh)
        assert gap.direct_gap == pytest.approx(expected, abs=1e-4)
        assert gap.vbm <= structure.find_fermi_level(mesh) <= gap.cbm
    assert "under time reversal" in caplog.text
