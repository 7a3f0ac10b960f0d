import numpy as np
import pytest
from ase.dft.dos import lti_dos
from ase.parallel import world
from hypothesis import given
from hypothesis import strategies as st

from ase_tracegrad.electronic import simplices
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.dos import compute_dos, compute_dos_tetrahedron, split_cell
from ase_tracegrad.electronic.kmesh import make_mesh

CELL = np.array([[2.46, 0, 0], [-1.23, 2.13, 0], [0, 0, 15.0]])
GRID = np.linspace(-12, 16, 4001)


def integral(dos):
    return float(np.sum(dos)) * (GRID[1] - GRID[0])


def test_gaussian_holds_all_states(graphene):
    mesh = make_mesh((8, 8, 1))
    dos = compute_dos(compute_bands(*graphene, mesh.kpts), mesh.weights, GRID, width=0.2)
    assert abs(integral(dos) - 4) < 1e-9
    one = compute_dos([[0.0]], [1.0], GRID, width=0.3, spin_degeneracy=1)
    assert abs(one.max() - 1 / (0.3 * np.sqrt(2 * np.pi))) < 1e-4


def test_projections_add_up_to_the_total(graphene):
    mesh = make_mesh((8, 8, 1))
    energies = compute_bands(*graphene, mesh.kpts)
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], size=energies.shape)
    gaussian = compute_dos(energies, mesh.weights, GRID, width=0.2, projections=shares)
    assert np.abs(gaussian.sum(axis=0) - compute_dos(energies, mesh.weights, GRID, width=0.2)).max() < 1e-12
    full, full_shares = mesh.unfold(energies), mesh.unfold(shares)
    linear = compute_dos_tetrahedron(full, CELL, GRID, projections=full_shares)
    assert np.abs(linear.sum(axis=0) - compute_dos_tetrahedron(full, CELL, GRID)).max() < 1e-10


def mesh_energies(size):
    rng = np.random.default_rng(1)
    return rng.normal(size=(*size, 3)) * 2 + [-3, 1, 6]


@pytest.mark.parametrize("size", [(4, 4, 4), (5, 3, 1), (6, 1, 1)])
def test_tetrahedra_equal_ase(size):
    energies = mesh_energies(size)
    expected = np.empty((2, len(GRID)))
    weights = np.random.default_rng(2).uniform(size=(*energies.shape, 2))
    lti_dos(split_cell(CELL, size), energies, weights, GRID, expected, world)
    ours = compute_dos_tetrahedron(energies, CELL, GRID, spin_degeneracy=1, projections=weights, pointwise=True)
    # lti_dos leaves out the division by the number of mesh points.
    assert np.abs(ours - expected / np.prod(size)).max() < 1e-8 * np.abs(ours).max()


def test_tetrahedra_hold_all_states():
    assert abs(integral(compute_dos_tetrahedron(mesh_energies((5, 5, 5)), CELL, GRID)) - 6) < 1e-12


@pytest.mark.parametrize("size", [(4, 4, 4), (5, 3, 1), (6, 1, 1)])
def test_bins_are_means_of_the_density_at_points(size):
    energies = mesh_energies(size)
    weights = np.random.default_rng(2).uniform(size=(*energies.shape, 2))
    grid = np.array([-6, -4, -3.3, -1, 0.2, 1.5, 4, 5])
    bins = compute_dos_tetrahedron(energies, CELL, grid, projections=weights)
    for number in (3, 4):
        low, high = (grid[number - 1] + grid[number]) / 2, (grid[number] + grid[number + 1]) / 2
        fine = low + (high - low) * (np.arange(20000) + 0.5) / 20000
        points = compute_dos_tetrahedron(energies, CELL, fine, projections=weights, pointwise=True)
        assert np.abs(bins[:, number] - points.mean(axis=1)).max() < 1e-3 * bins.max()


@given(width=st.one_of(st.just(0.0), st.floats(1e-12, 1.0)), center=st.floats(-0.4, 0.4), step=st.sampled_from([0.02, 0.1, 0.003]))
def test_a_band_of_any_width_anywhere_holds_two_electrons(width, center, step):
    angle = 2 * np.pi * np.arange(6) / 6
    band = center + width / 4 * (np.cos(angle)[:, None] + np.cos(angle))[:, :, None, None]
    shares = np.random.default_rng(0).uniform(size=(*band.shape, 2))
    grid = np.arange(-1, 1, step)
    dos = compute_dos_tetrahedron(band, np.diag([3, 3, 20.0]), grid)
    assert dos.min() >= -1e-9
    assert abs(dos.sum() * step - 2) < 1e-9
    parts = compute_dos_tetrahedron(band, np.diag([3, 3, 20.0]), grid, projections=shares)
    assert np.abs(parts.sum(axis=1) * step - 2 * shares.mean(axis=(0, 1, 2, 3))).max() < 1e-9


def test_free_electrons_in_two_dimensions():
    """E = |k|^2 has a constant density of states inside the circle that fits into the cell."""
    n = 60
    k = (np.arange(n) - n // 2) / n
    energies = (k[:, None] ** 2 + k[None, :] ** 2)[:, :, None, None]
    grid = np.linspace(0.02, 0.2, 50)
    dos = compute_dos_tetrahedron(energies, np.eye(3), grid, spin_degeneracy=1)
    assert np.abs(dos - np.pi).max() < 0.15
    assert abs(dos.mean() - np.pi) < 0.01


def test_shortest_diagonal_is_used():
    """Oblique cell: the two short diagonals of the reciprocal parallelogram differ."""
    for sign in (1, -1):
        cell = np.linalg.inv([[1, 0, 0], [sign * 0.5, 0.8, 0], [0, 0, 1.0]]).T
        tetrahedra = split_cell(cell, (1, 1, 1))
        assert abs(np.abs(np.linalg.det((tetrahedra[:, 1:] - tetrahedra[:, :1]).astype(float))).sum() / 6 - 1) < 1e-12
        ends = tetrahedra[0][[0, 3]]
        diagonal = ends[1] - ends[0]
        assert diagonal[0] * diagonal[1] == -sign


@pytest.mark.parametrize("projected", [False, True])
def test_flat_bands_are_peaks_that_hold_their_states(projected):
    energies = np.full((3, 3, 1, 2), [-1.2345, 2.0])
    shares = np.full((*energies.shape, 1), 0.25) if projected else None
    dos = np.atleast_2d(compute_dos_tetrahedron(energies, CELL, GRID, projections=shares))[0]
    assert integral(dos) == pytest.approx(1.0 if projected else 4.0, abs=1e-12)
    assert (GRID[np.argmax(dos[:2000])], GRID[2000 + np.argmax(dos[2000:])]) == pytest.approx((-1.2345, 2.0), abs=0.01)


def test_the_states_below_the_fermi_level_hold_the_electrons(graphene):
    mesh = make_mesh((30, 30, 1), gamma=True)
    energies = compute_bands(*graphene, mesh.kpts)
    grid = np.linspace(-8, 0, 4001)
    dos = compute_dos_tetrahedron(mesh.unfold(energies), CELL, grid)
    assert abs(np.trapezoid(dos, grid) - 2) < 2e-3
    assert dos[-1] < 0.01  # vanishes at the Dirac point


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="finite"):
        compute_dos([[np.nan]], [1.0], GRID, width=0.1)
    with pytest.raises(ValueError, match="finite"):
        compute_dos_tetrahedron(mesh_energies((2, 2, 2)) * np.nan, CELL, GRID)
    with pytest.raises(ValueError, match="positive width"):
        compute_dos([[0.0]], [1.0], GRID, width=0.0)
    with pytest.raises(ValueError, match="expected energies"):
        compute_dos([0.0], [1.0], GRID, width=0.1)
    with pytest.raises(ValueError, match="ascending"):
        compute_dos_tetrahedron(mesh_energies((2, 2, 2)), CELL, GRID[::-1])
    with pytest.raises(ValueError, match="projections"):
        compute_dos([[0.0]], [1.0], GRID, width=0.1, projections=[[1.0]])


@pytest.mark.parametrize("size", [(5, 4, 3), (7, 6, 1), (1, 9, 1)])
@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("pointwise", [False, True])
def test_sums_of_cones_equal_splines(monkeypatch, size, projected, pointwise):
    """Each simplex may be added either way: on uneven grids, for simplices across the ends of the grid and almost flat ones."""
    rng = np.random.default_rng(3)
    energies = mesh_energies(size)
    energies[..., 1] = np.round(energies[..., 1])  # equal corners
    energies[..., 2] = 1 + rng.choice([1e-9, 1e-4, 1e-2]) * energies[..., 2]
    shares = rng.uniform(size=(*energies.shape, 2)) if projected else None
    for grid in (np.linspace(-4, 6, 301), np.sort(rng.uniform(-3, 3, 200)), np.geomspace(1e-3, 20, 150)):
        found = []
        for cancellation in (1e4, 0.0):
            monkeypatch.setattr(simplices, "CANCELLATION", cancellation)
            found.append(compute_dos_tetrahedron(energies, CELL, grid, projections=shares, pointwise=pointwise))
        assert np.abs(found[0] - found[1]).max() < 1e-10 * np.abs(found[1]).max()
