"""Density of states: Gaussian broadening, and the linear tetrahedron method."""

import numpy as np

# Gaussians are zero in double precision this many widths away.
GAUSSIAN_REACH = 9.0


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
    shares = _check_projections(projections, energies.shape)
    corners = split_cell(cell, size)
    points = grid if pointwise else _bin_ends(grid)
    found = np.zeros((shares.shape[-1], len(points)))
    for band in range(energies.shape[3]):
        values = _tetrahedron_corners(energies[..., band], corners)
        if projections is None:
            _add_tetrahedra(found, np.sort(values, axis=1), None, points, pointwise)
            continue
        order = np.argsort(values, axis=1)
        weights = np.take_along_axis(_tetrahedron_corners(shares[:, :, :, band], corners), order[..., None], axis=1)
        _add_tetrahedra(found, np.take_along_axis(values, order, axis=1), weights, points, pointwise)
    dos = found if pointwise else np.diff(found) / np.diff(points)
    dos *= spin_degeneracy / (6 * np.prod(size))
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


def _tetrahedron_corners(values: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Values on the periodic mesh at the corners of all tetrahedra: (6 n1 n2 n3, 4, ...)."""
    rolled = {tuple(c): np.roll(values, -c, axis=(0, 1, 2)).reshape(-1, *values.shape[3:]) for c in corners.reshape(-1, 3)}
    return np.concatenate([np.stack([rolled[tuple(c)] for c in tetrahedron], axis=1) for tetrahedron in corners])


def _bin_ends(grid: np.ndarray) -> np.ndarray:
    """(G + 1,): halfway between the grid energies, and as far outside the first and the last."""
    middles = (grid[:-1] + grid[1:]) / 2
    return np.concatenate([[2 * grid[0] - middles[0]], middles, [2 * grid[-1] - middles[-1]]])


# The cut e(k) = E through a tetrahedron with corners 0..3 of ascending energy: one triangle while E is below
# corner 1 or above corner 2, two in between. A triangle is given by two edges (a, b), whose shares f_ab =
# (E - e_b) / (e_a - e_b) make its density of states 3 f f / (e_3 - e_0), and by the three edges that hold its vertices.
TRIANGLES = (
    ((((1, 0), (2, 0)), ((0, 1), (0, 2), (0, 3))),),
    ((((1, 2), (2, 0)), ((0, 3), (0, 2), (1, 2))), (((2, 1), (1, 3)), ((0, 3), (1, 2), (1, 3)))),
    ((((1, 3), (2, 3)), ((0, 3), (1, 3), (2, 3))),),
)


def _add_tetrahedra(found: np.ndarray, e: np.ndarray, weights: np.ndarray | None, points: np.ndarray, pointwise: bool):
    """Add the states below ``points`` (G,) of tetrahedra with ascending corner energies e (T, 4) to ``found`` (P, G).

    pointwise: their density at ``points`` instead. Between two corners that is a polynomial of E, quadratic, or cubic
    with weights (T, 4, P), and the number of states its integral. The coefficients are found per tetrahedron; each
    energy inside then costs one evaluation.
    """
    edges = np.searchsorted(points, e)
    if not pointwise:
        _add_complete(found, edges[:, 3], None if weights is None else weights.mean(axis=1))
    for interval, triangles in enumerate(TRIANGLES):
        inside = np.nonzero(edges[:, interval + 1] > edges[:, interval])[0]
        if not len(inside):
            continue
        first, count = edges[inside, interval], edges[inside, interval + 1] - edges[inside, interval]
        origin = e[inside, interval]
        corner = e[inside] - origin[:, None]
        corner_weights = None if weights is None else weights[inside]
        polynomials = np.sum([_triangle_polynomial(corner, corner_weights, *triangle) for triangle in triangles], axis=0)
        if not pointwise:
            polynomials /= np.arange(1, polynomials.shape[1] + 1)[:, None]
            below = _states_below(interval, corner, corner_weights)
            polynomials = np.concatenate([below[:, None], polynomials], axis=1)
        # One row per pair of a tetrahedron and an energy inside the interval.
        owner = np.repeat(np.arange(len(inside)), count)
        point = np.arange(len(owner)) + (first - np.cumsum(count) + count)[owner]
        x = points[point] - origin[owner]
        for row, coefficients in zip(found, polynomials, strict=True):
            values = coefficients[-1][owner]
            for coefficient in coefficients[-2::-1]:
                values = values * x + coefficient[owner]
            row += np.bincount(point, values, minlength=len(points))


def _add_complete(found: np.ndarray, first: np.ndarray, weights: np.ndarray | None):
    """Add tetrahedra that lie below the points from ``first`` (T,) on as a whole; weights (T, P)."""
    n_points = found.shape[1]
    for p, row in enumerate(found):
        row += np.cumsum(np.bincount(first, None if weights is None else weights[:, p], minlength=n_points + 1)[:n_points])


def _states_below(interval: int, e: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """States of a tetrahedron below its corner number ``interval``, (P, T): the part that the cut there leaves below.

    The cut takes off the small tetrahedron at corner 0 or 3; the mean weight of a tetrahedron is that of its corners.
    """
    if interval == 0:
        return np.zeros((1 if weights is None else weights.shape[2], len(e)))
    tip, others = (0, (2, 3)) if interval == 1 else (3, (0, 1))
    # Shares of the edges from the tip up to the cut; the third edge ends in the corner itself.
    shares = [(e[:, interval] - e[:, tip]) / (e[:, a] - e[:, tip]) for a in others]
    volume = shares[0] * shares[1]
    if weights is None:
        return (volume if interval == 1 else 1 - volume)[None]
    ends = [weights[:, tip] + f[:, None] * (weights[:, a] - weights[:, tip]) for f, a in zip(shares, others, strict=True)]
    part = volume[:, None] * (weights[:, tip] + weights[:, interval] + ends[0] + ends[1]) / 4
    return (part if interval == 1 else weights.mean(axis=1) - part).T


def _triangle_polynomial(e: np.ndarray, weights: np.ndarray | None, shares, edges) -> np.ndarray:
    """Density of states of a triangle, times the mean weight on it: coefficients (P, degree + 1, T) in rising powers of E."""

    def share(a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        slope = 1 / (e[:, a] - e[:, b])
        return -e[:, b] * slope, slope

    (p0, p1), (q0, q1) = share(*shares[0]), share(*shares[1])
    density = 3 / (e[:, 3] - e[:, 0]) * np.array([p0 * q0, p0 * q1 + p1 * q0, p1 * q1])
    if weights is None:
        return density[None]
    # A vertex on edge (a, b) has the weight f_ab w_a + f_ba w_b, linear in E like the shares.
    constant, slope = np.zeros((2, *weights.shape[::2]))
    for a, b in edges:
        for one, other in ((a, b), (b, a)):
            s0, s1 = share(one, other)
            constant += s0[:, None] * weights[:, one] / 3
            slope += s1[:, None] * weights[:, one] / 3
    out = np.zeros((weights.shape[2], 4, len(e)))
    out[:, :3] += density * constant.T[:, None]
    out[:, 1:] += density * slope.T[:, None]
    return out


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
