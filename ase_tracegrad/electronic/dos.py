"""Density of states: Gaussian broadening, and the linear tetrahedron method."""

import numpy as np

from .simplices import add_simplices

# Gaussians are zero in double precision this many widths away.
GAUSSIAN_REACH = 9.0
# Simplices, times projections, at a time: arrays of them fit into the cache of a core.
NUMBERS_AT_A_TIME = 2**13


def compute_dos(energies, weights, grid, *, width: float, spin_degeneracy: int = 2, projections=None) -> np.ndarray:
    """States per eV and cell at the energies ``grid``: sum over states of w g(E - E_state).

    energies (K, n) eV; weights (K,), sum 1; grid (G,) eV; width: standard deviation of the normalised
    Gaussian g, eV. projections (K, n, P): a share of each state per projection, then the result is (P, G)
    instead of (G,).
    """
    energies, weights, grid = np.asarray(energies, float), np.asarray(weights, float), np.asarray(grid, float)
    if energies.ndim != 2 or weights.shape != energies.shape[:1] or grid.ndim != 1:
        raise ValueError(
            f"expected energies (K, n), weights (K,), grid (G,); found {energies.shape}, {weights.shape}, {grid.shape}"
        )
    if not np.isfinite(width) or width <= 0:
        raise ValueError(f"a Gaussian density of states needs a positive width in eV, found {width}: or use the tetrahedron method")
    _check_finite(energies, grid)
    shares = _check_projections(projections, energies.shape) * weights[:, None, None]
    reach = GAUSSIAN_REACH * width
    near = (energies > grid.min() - reach) & (energies < grid.max() + reach)
    levels, shares = energies[near], shares[near]
    dos = np.zeros((shares.shape[1], len(grid)))
    step = max(1, 2**22 // len(grid))
    for start in range(0, len(levels), step):
        x = (grid - levels[start : start + step, None]) / width
        dos += shares[start : start + step].T @ np.exp(-0.5 * x**2)
    dos *= spin_degeneracy / (width * np.sqrt(2 * np.pi))
    return dos[0] if projections is None else dos


def compute_dos_tetrahedron(
    energies, cell, grid, *, spin_degeneracy: int = 2, projections=None, pointwise: bool = False
) -> np.ndarray:
    """States per eV and cell at ``grid`` by linear interpolation in tetrahedra (Bloechl, Phys. Rev. B 49, 16223 (1994)).

    energies (n1, n2, n3, n) eV on a full regular mesh (KMesh.unfold gives it; n3 = 1 makes triangles);
    cell (3, 3) Angstrom, rows; grid (G,) eV, ascending. projections (n1, n2, n3, n, P) as in compute_dos.
    Each value is the mean over the bin around its grid energy, (N(b) - N(a)) / (b - a) with the exact number of
    states N and the bin's ends halfway to the neighbours: the sum over bins holds every state, however narrow its band.
    pointwise: the density at the grid energies themselves, which misses what lies between them and flat tetrahedra.
    """
    energies, grid = np.asarray(energies, dtype=float), np.asarray(grid, dtype=float)
    if energies.ndim != 4 or grid.ndim != 1 or len(grid) < 2 or (np.diff(grid) <= 0).any():
        raise ValueError(f"expected energies (n1, n2, n3, n) and an ascending grid, found {energies.shape} and {grid.shape}")
    _check_finite(energies, grid)
    size = energies.shape[:3]
    shares = None if projections is None else _check_projections(projections, energies.shape)
    points = grid if pointwise else _bin_ends(grid)
    first = np.searchsorted(points, energies)
    found = np.zeros((1 if shares is None else shares.shape[-1], len(points)))
    simplices = _leave_out_constant_axes(split_cell(cell, size), size)
    step = max(1, NUMBERS_AT_A_TIME // (len(simplices) * np.prod(size) * len(found)))
    for start in range(0, energies.shape[3], step):
        bands = slice(start, start + step)
        weights = None if shares is None else _take_corners(shares[:, :, :, bands], simplices)
        corners = _take_corners(energies[..., bands], simplices), _take_corners(first[..., bands], simplices)
        add_simplices(found, *corners, weights, points, pointwise)
    dos = found if pointwise else np.diff(found) / np.diff(points)
    dos *= spin_degeneracy / (len(simplices) * np.prod(size))
    return dos[0] if projections is None else dos


def split_cell(cell, size) -> np.ndarray:
    """Six tetrahedra around the shortest diagonal of a mesh cell: (6, 4, 3) corners, each coordinate 0 or 1."""
    steps = np.linalg.pinv(np.asarray(cell, dtype=float)).T / np.asarray(size)[:, None]
    flips = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
    shortest = flips[np.argmin([np.linalg.norm((1 - 2 * flip) @ steps) for flip in flips])]
    paths = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    unit = np.eye(3, dtype=int)
    tetrahedra = [np.cumsum([np.zeros(3, int), *unit[list(path)]], axis=0) for path in paths]
    return np.array(tetrahedra) ^ shortest


def _leave_out_constant_axes(tetrahedra: np.ndarray, size) -> np.ndarray:
    """The corners (S, n + 1, 3) of the simplices that the tetrahedra are along the n axes of the mesh with more than one point.

    Energies are constant along the others, so that the tetrahedra over a triangle, or a segment, together are that.
    """
    corners = tetrahedra * (np.array(size) > 1)
    different = {frozenset(map(tuple, simplex.tolist())): None for simplex in corners}
    return np.array([sorted(simplex) for simplex in different])


def _take_corners(values: np.ndarray, simplices: np.ndarray) -> np.ndarray:
    """Values (n1, n2, n3, bands, ...) on the periodic mesh at the corners of all simplices: (n + 1, S n1 n2 n3 bands, ...)."""
    rolled = {c: np.roll(values, [-x for x in c], axis=(0, 1, 2)) for c in set(map(tuple, simplices.reshape(-1, 3).tolist()))}
    flat = {c: moved.reshape(-1, *values.shape[4:]) for c, moved in rolled.items()}
    return np.stack([np.concatenate([flat[tuple(c)] for c in corner]) for corner in simplices.swapaxes(0, 1).tolist()])


def _bin_ends(grid: np.ndarray) -> np.ndarray:
    """(G + 1,): halfway between the grid energies, and as far outside the first and the last."""
    middles = (grid[:-1] + grid[1:]) / 2
    return np.concatenate([[2 * grid[0] - middles[0]], middles, [2 * grid[-1] - middles[-1]]])


def _check_finite(energies: np.ndarray, grid: np.ndarray):
    if not np.isfinite(energies).all() or not np.isfinite(grid).all() or not len(grid):
        raise ValueError("energies and the grid must be finite, and the grid not empty")


def _check_projections(projections, shape: tuple[int, ...]) -> np.ndarray:
    if projections is None:
        return np.ones((*shape, 1))
    projections = np.asarray(projections, dtype=float)
    if projections.ndim != len(shape) + 1 or projections.shape[:-1] != shape:
        raise ValueError(f"expected projections {(*shape, 'P')}, found {projections.shape}")
    return projections
