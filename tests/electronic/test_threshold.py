"""One threshold on S for all that is solved from a structure: what the bands drop, every other quantity drops."""

import numpy as np
import pytest

from ase_tracegrad.basis import AtomicBasis, Basis, OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.eigen import solve_bands, solve_bloch
from ase_tracegrad.electronic.ghosts import GhostStateWarning
from ase_tracegrad.electronic.irreducible import reduce_mesh
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.projections import compute_density_matrix, project_bonds
from ase_tracegrad.electronic.symmetry import find_symmetry
from ase_tracegrad.electronic.unfold import SupercellMap, unfold_bands
from ase_tracegrad.electronic.velocities import compute_inverse_masses, compute_velocities
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.structure import Structure

HOPPING, OVERLAP = 0.02, 0.49999
ERROR = 0.04  # eV, so that modes below 0.01 are dropped


def chain() -> Sample:
    """Three atoms in a chain, E = 2 t cos x / (1 + 2 s cos x), x = 2 pi (k + m) / 3: a ghost near k = 1/2, where S has the
    eigenvalue 2e-5 and the hopping, as large as the error of H, is no energy at all."""
    neighbours = [(i, (i + step) % 3, ((i + step) // 3, 0, 0)) for i in range(3) for step in (1, -1)]
    layout = OrbitalLayout(((0,),) * 3)

    def build(diagonal, coupling):
        home = {(i, i, (0, 0, 0)): [[diagonal]] for i in range(3)}
        return BlockMatrix.from_blocks(layout, home | {key: [[coupling]] for key in neighbours})

    structure = Structure([6] * 3, np.outer([0.0, 2.0, 4.0], [1, 0, 0]), np.diag([6.0, 12, 12]), [True, False, False])
    basis = Basis({6: AtomicBasis(6, (0,), (), 1.0)})
    return Sample(structure, basis, build(0.0, HOPPING), build(1.0, OVERLAP), {"n_electrons": 2.0})


@pytest.fixture
def structure() -> ElectronicStructure:
    sample = chain()
    sample.info["hamiltonian_error"] = ERROR
    return ElectronicStructure(sample)


MESH = make_mesh((40, 1, 1), gamma=True)


def test_ghosts_without_an_expected_error():
    solved = ElectronicStructure(chain())
    with pytest.warns(GhostStateWarning, match="-2000 eV"):
        energies = solved.energies(MESH.kpts)
    assert energies.shape[1] == 3
    solved.sample.info["hamiltonian_error"] = ERROR  # as the warning says
    assert solved.energies(MESH.kpts).min() > -5


def test_projections_drop_what_the_bands_drop(structure):
    energies = structure.energies(MESH.kpts)
    report = solve_bloch(structure.sums(), MESH.kpts).report
    assert 0 < np.count_nonzero(report.dropped) < len(MESH) / 2, "near k = 1/2 alone"
    assert report.threshold == ERROR / 4
    for method in ("mulliken", "loewdin"):
        projected, shares, _ = structure.project(MESH.kpts, by="atom", method=method)
        assert projected == pytest.approx(energies, abs=1e-10)
        assert np.abs(shares.sum(axis=2) - 1).max() < 1e-10


@pytest.mark.parametrize("width", [0.05, 0.0])
def test_projected_densities_of_states_add_up(structure, width):
    grid = np.linspace(-6, 2, 1601)
    total = structure.compute_dos(MESH, grid, width=width)
    parts, _ = structure.compute_projected_dos(MESH, grid, by="atom", width=width)
    assert np.abs(parts.sum(axis=0) - total).max() < 1e-6 * total.max()
    assert np.trapezoid(total, grid) == pytest.approx(4.0, abs=0.02), "two bands of two electrons"
    assert structure.compute_populations(MESH).electrons == pytest.approx([2 / 3] * 3, abs=1e-6)


def test_every_quantity_has_these_energies(structure):
    sums, sample, kpts = structure.sums(), structure.sample, MESH.kpts
    energies = structure.energies(kpts)
    single = SupercellMap(np.eye(3, dtype=int), np.arange(3), np.zeros((3, 3), dtype=int))
    unfolded, weights = unfold_bands(sums, single, kpts)
    assert np.abs(weights - 1).max() < 1e-9
    for found in (
        unfolded,
        compute_velocities(sums, kpts, sample.structure.cell)[0],
        project_bonds(sums, kpts, [(0, 1, (0, 0, 0))])[0],
        solve_bands(sample.hamiltonian, sample.overlap, kpts, hamiltonian_error=ERROR).energies,
    ):
        assert found == pytest.approx(energies, abs=1e-10)
    half = [0.5, 0, 0]
    assert compute_inverse_masses(sums, half, sample.structure.cell)[0] == pytest.approx(structure.energies([half])[0], abs=1e-10)
    assert sample.overlap.inner(compute_density_matrix(sums, MESH, 2.0)) == pytest.approx(2.0)


def test_symmetry_and_gap_see_no_ghosts(structure):
    sums, sample = structure.sums(), structure.sample
    report = find_symmetry(sums, sample.structure, kpts=[[0.5, 0, 0], [0, 0, 0]])
    assert [sum(levels) for levels in report.degeneracies] == [2, 2]
    assert report.splitting.max() < 1e-9
    assert report.expected_error == ERROR
    assert len(reduce_mesh(make_mesh((40, 1, 1), gamma=True, time_reversal=False), sums, sample.structure)) == 21
    energies = structure.energies(MESH.kpts)
    gap = structure.find_band_gap(MESH)
    assert energies[:, 0].min() - 1e-9 <= gap.vbm <= energies[:, 0].max() + 1e-3
    assert gap.cbm >= energies[:, 1].min() - 1e-3


def test_another_error_without_arranging_again():
    sample = chain()
    sums = BlochSum(sample.hamiltonian, sample.overlap)
    assert sums.with_error(ERROR)._sums is sums._sums
    assert (sums.threshold, sums.with_error(ERROR).threshold) == (1e-10, ERROR / 4)
    for wrong in (-1.0, np.nan):
        with pytest.raises(ValueError, match="hamiltonian_error is an energy"):
            sums.with_error(wrong)
        with pytest.raises(ValueError, match="hamiltonian_error is an energy"):
            BlochSum(sample.hamiltonian, sample.overlap, wrong)
