"""S(R) of any structure from the basis alone: two-centre integrals of atomic orbitals, no DFT run.

    <R1 Y_l1m1 (0) | R2 Y_l2m2 (d)> = sum_LM G(l1 m1, l2 m2, L M) Y_LM(d) I_L(|d|)
    I_L(d) = 8 (-1)^((l1 - l2 - L)/2) Int q^2 f1(q) f2(q) j_L(q d) dq,   f(q) = Int r^2 R(r) j_l(q r) dr

with G the Gaunt coefficients (O. F. Sankey and D. J. Niklewski, Phys. Rev. B 40, 3979 (1989);
J. M. Soler et al., J. Phys.: Condens. Matter 14, 2745 (2002), section 4). The radial integrals, which Gaussians have
in closed form, are splined once per element pair; a new structure costs one spline evaluation per atom pair.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline
from scipy.special import eval_genlaguerre, factorial, spherical_jn

from .basis import AtomicBasis, Basis, GaussianRadial, TabulatedRadial
from .blocks import BlockMatrix
from .graph import build_graph
from .harmonics import gaunt_coefficients, real_spherical_harmonics
from .structure import Structure

log = logging.getLogger(__name__)

CLOSEST = 0.4  # Angstrom, where the tables begin; build_graph refuses nearer atoms
NORM_TOLERANCE = 2e-10  # part of an orbital's norm that may lie beyond the largest q
LARGEST_Q = 400.0  # 1/Angstrom; only orbitals with a kink or a core cusp need more
SPLINE_TOLERANCE = 2e-10
CHUNK = 1024  # pairs at a time, so that their blocks stay in the processor's cache


def compute_overlap(structure, basis: Basis) -> BlockMatrix:
    """The overlap matrix S(R), dimensionless, on all pairs nearer than the sum of the atoms' reaches.

    structure: a Structure or ase.Atoms. Accurate to about 1e-9 for Gaussians and for tabulated
    orbitals that are smooth at their end. ValueError if the basis holds no radial functions,
    StructureError for a structure that cannot be right.
    """
    structure = structure if isinstance(structure, Structure) else Structure.from_atoms(structure)
    for number in np.unique(structure.numbers):
        if not basis[number].shells:
            raise ValueError(
                f"the overlap needs the radial functions of element {number}, but this basis ({basis.name or 'unnamed'}) "
                "holds only its shells: read them from the DFT code's basis files (CP2K BASIS_*, OpenMX .pao, SIESTA .ion)"
            )
    graph = build_graph(structure, {z: basis[z].reach for z in structure.numbers.tolist()}, closest=CLOSEST)
    layout = basis.layout(structure.numbers)
    sizes = layout.sizes[graph.pairs].prod(axis=1)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    values = np.empty(offsets[-1])
    vectors = graph.vectors
    first, second = structure.numbers[graph.pairs].T
    # One of each two adjoint pairs is computed, the other is its transpose: S is Hermitian to the last bit.
    leading = (first < second) | ((first == second) & (np.arange(len(first)) <= graph.reverse))
    leading[: graph.n_onsite] = False
    for a, b in np.unique(np.stack([first, second])[:, leading], axis=1).T:
        table = find_table(basis[a], basis[b])
        target = np.lib.stride_tricks.sliding_window_view(values, table.shape[0] * table.shape[1], writeable=True)
        chosen = np.nonzero(leading & (first == a) & (second == b))[0]
        for part in np.array_split(chosen, len(chosen) // CHUNK + 1):
            blocks = table(vectors[part])
            target[offsets[part]] = blocks.reshape(-1, len(part)).T
            target[offsets[graph.reverse[part]]] = blocks.swapaxes(0, 1).reshape(-1, len(part)).T
    onsite = {number: find_onsite_block(basis[number]).ravel() for number in set(structure.numbers.tolist())}
    for atom, number in enumerate(structure.numbers.tolist()):
        values[offsets[atom] : offsets[atom + 1]] = onsite[number]
    return BlockMatrix(layout, graph.pairs, graph.shifts, values)


@dataclass(frozen=True, eq=False)
class PairTable:
    """Radial integrals of one element pair.

    terms: (l1, first row, l2, first column, L) of each radial integral; spline: distance in Angstrom
    (E,) -> all of them (E, terms).
    """

    shape: tuple[int, int]
    terms: tuple[tuple[int, int, int, int, int], ...]
    spline: BSpline

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Blocks <phi_a(0)|phi_b(d)> for vectors d (E, 3) Angstrom; (n_a, n_b, E)."""
        radial = self.spline(np.linalg.norm(vectors, axis=1)).T
        angular: dict[tuple[int, int, int], np.ndarray] = {}
        blocks = np.zeros((*self.shape, len(vectors)))
        for values, (l1, row, l2, column, total) in zip(radial, self.terms, strict=True):
            if (l1, l2, total) not in angular:
                angular[l1, l2, total] = gaunt_coefficients(l1, l2, total) @ real_spherical_harmonics(total, vectors).T
            blocks[row : row + 2 * l1 + 1, column : column + 2 * l2 + 1] += angular[l1, l2, total] * values
        return blocks


_tables: dict[tuple, PairTable] = {}


def find_table(a: AtomicBasis, b: AtomicBasis) -> PairTable:
    """The table of an element pair, built at the first request in this process.

    Milliseconds for Gaussians; tabulated orbitals with a kink or a core cusp need large q and take seconds.
    """
    key = (_content(a), _content(b))
    if key not in _tables:
        _tables[key] = _build_table(a, b)
    return _tables[key]


_onsite_blocks: dict[tuple, np.ndarray] = {}


def find_onsite_block(atom: AtomicBasis) -> np.ndarray:
    """<phi|phi'> on one atom, (n, n), computed at the first request in this process."""
    key = _content(atom)
    if key not in _onsite_blocks:
        _onsite_blocks[key] = _onsite_block(atom)
    return _onsite_blocks[key]


def _content(atom: AtomicBasis) -> tuple:
    """What decides the integrals, hashable: two copies of a basis share their tables."""
    numbers = []
    for shell in atom.shells:
        radial = shell.radial
        arrays = (radial.exponents, radial.coefficients) if isinstance(radial, GaussianRadial) else (radial.radii, radial.values)
        numbers.append((shell.l, radial.reach, *(array.tobytes() for array in arrays)))
    return tuple(numbers)


def _build_table(a: AtomicBasis, b: AtomicBasis) -> PairTable:
    reach = a.reach + b.reach
    terms = [
        (l1, row, l2, start, total)
        for l1, row in zip(a.angular_momenta, _starts(a), strict=True)
        for l2, start in zip(b.angular_momenta, _starts(b), strict=True)
        for total in range(abs(l1 - l2), l1 + l2 + 1, 2)
    ]
    first, second = _gaussians(a), _gaussians(b)
    closed = len(first) == len(a.shells) and len(second) == len(b.shells)
    integrals = _closed_integrals(first, second) if closed else _numerical_integrals(a, b, np.pi / (1.25 * reach))

    # Halve the step until the spline reproduces the integrals between its knots.
    knots = np.linspace(min(CLOSEST, 0.5 * reach), reach, int(reach / 0.04) + 8)
    values = integrals(knots)
    for _ in range(6):
        spline = make_interp_spline(knots, values, k=5)
        middle = (knots[:-1] + knots[1:]) / 2
        exact = integrals(middle)
        error = np.abs(spline(middle) - exact).max()
        if error < SPLINE_TOLERANCE:
            break
        order = np.argsort(np.concatenate([knots, middle]), kind="stable")
        knots, values = np.concatenate([knots, middle])[order], np.concatenate([values, exact])[order]
    else:
        log.warning("overlap table of elements %d and %d: interpolation error %.1e", a.number, b.number, error)
    return PairTable((a.size, b.size), tuple(terms), spline)


def _gaussians(atom: AtomicBasis) -> list[GaussianRadial]:
    """The radial functions that are Gaussians."""
    return [shell.radial for shell in atom.shells if isinstance(shell.radial, GaussianRadial)]


def _closed_integrals(a: list[GaussianRadial], b: list[GaussianRadial]) -> Callable[[np.ndarray], np.ndarray]:
    """Function from distances d (E,) to I_L(d) of all terms of two atoms with Gaussians, (E, terms).

    Int q^(2n+L+2) exp(-p q^2) j_L(q d) dq = sqrt(pi) n! d^L exp(-x) L_n^(L+1/2)(x) / (2^(L+2) p^(n+L+3/2)), x = d^2 / 4p
    (I. S. Gradshteyn and I. M. Ryzhik, 6.631.10, with j_L written as a Bessel function of order L + 1/2).
    """

    def integrals(distances: np.ndarray) -> np.ndarray:
        columns = []
        for first in a:
            for second in b:
                widths = (1 / (4 * first.exponents[:, None]) + 1 / (4 * second.exponents)).ravel()
                scales = np.outer(_transform_scales(first), _transform_scales(second)).ravel()
                x = distances[:, None] ** 2 / (4 * widths)
                for total in range(abs(first.l - second.l), first.l + second.l + 1, 2):
                    n = (first.l + second.l - total) // 2
                    factor = 8 * (-1) ** ((first.l - second.l - total) // 2) * np.sqrt(np.pi) * factorial(n) / 2 ** (total + 2)
                    radial = np.exp(-x) * eval_genlaguerre(n, total + 0.5, x) @ (scales / widths ** (n + total + 1.5))
                    columns.append(factor * distances**total * radial)
        return np.array(columns).T

    return integrals


def _numerical_integrals(a: AtomicBasis, b: AtomicBasis, step: float) -> Callable[[np.ndarray], np.ndarray]:
    """Function from distances (E,) to I_L(d) of all terms of two atoms, (E, terms), by quadrature in q with this step."""
    q, f_a, f_b = _transforms(a, b, step)
    degrees, integrands = [], []
    for l1, first in zip(a.angular_momenta, f_a, strict=True):
        for l2, second in zip(b.angular_momenta, f_b, strict=True):
            for total in range(abs(l1 - l2), l1 + l2 + 1, 2):
                degrees.append(total)
                integrands.append(8 * (-1) ** ((l1 - l2 - total) // 2) * q[1] * q**2 * first * second)

    def integrals(distances: np.ndarray) -> np.ndarray:
        values = np.empty((len(distances), len(degrees)))
        for total in set(degrees):
            columns = np.nonzero(np.array(degrees) == total)[0]
            weights = np.array([integrands[c] for c in columns]).T
            values[:, columns] = spherical_jn(total, distances[:, None] * q) @ weights
        return values

    return integrals


def _starts(atom: AtomicBasis) -> np.ndarray:
    sizes = [2 * l + 1 for l in atom.angular_momenta]
    return np.cumsum(sizes) - sizes


def _transforms(a: AtomicBasis, b: AtomicBasis, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An even grid of q from 0, (n,) 1/Angstrom, and f(q) of the shells of both atoms, (shells, n).

    The integrand in q is even and its Fourier transform ends at twice the sum of the reaches, so the
    trapezoidal rule is exact for any step below pi / (sum of reaches): only the tail beyond the last q
    is lost. By Cauchy-Schwarz that loss is at most the lost part of the orbitals' norm.
    """
    atoms = (a,) if a is b else (a, b)
    norms = [np.diag(_shell_products(atom)) for atom in atoms]
    transforms = [np.empty((len(atom.shells), 0)) for atom in atoms]
    first, last = 0, int(15 / step)
    while True:
        q = step * np.arange(first, last)
        transforms = [np.hstack([f, _transform(atom, q)]) for f, atom in zip(transforms, atoms, strict=True)]
        q = step * np.arange(last)
        lost = max((norm - 2 / np.pi * step * f**2 @ q**2).max() for f, norm in zip(transforms, norms, strict=True))
        if lost >= NORM_TOLERANCE and q[-1] > LARGEST_Q:
            log.warning(
                "overlap of elements %d and %d: %.1e of an orbital's norm lies beyond %g 1/Angstrom, and S errs by as much at "
                "most (aimed at %.0e): it has a kink or a narrow core function",
                a.number,
                b.number,
                lost,
                q[-1],
                NORM_TOLERANCE,
            )
        if lost < NORM_TOLERANCE or q[-1] > LARGEST_Q:
            return q, transforms[0], transforms[-1]
        first, last = last, int(1.5 * last)


def _transform(atom: AtomicBasis, q: np.ndarray) -> np.ndarray:
    """f(q) = Int r^2 R(r) j_l(q r) dr of every shell, (shells, n) Angstrom^(3/2)."""
    out = np.empty((len(atom.shells), len(q)))
    tables: dict[tuple[int, bytes], list[tuple[int, TabulatedRadial]]] = {}
    for index, (l, radial) in enumerate((shell.l, shell.radial) for shell in atom.shells):
        if isinstance(radial, GaussianRadial):
            out[index] = q**l * (np.exp(-(q[:, None] ** 2) / (4 * radial.exponents)) @ _transform_scales(radial))
        else:
            tables.setdefault((l, radial.radii.tobytes()), []).append((index, radial))
    for (l, _), members in tables.items():  # shells of one l on one grid share the costly Bessel functions
        r, weights = _radial_quadrature(members[0][1].radii, width=2.6 / q[-1])
        integrands = np.array([weights * r**2 * radial(r) for _, radial in members]).T
        blocks = [spherical_jn(l, part[:, None] * r) @ integrands for part in np.array_split(q, len(q) // 128 + 1)]
        out[[index for index, _ in members]] = np.concatenate(blocks).T
    return out


def _transform_scales(radial: GaussianRadial) -> np.ndarray:
    """s_i of f(q) = q^l sum_i s_i exp(-q^2 / 4 a_i), (n,)."""
    return radial.coefficients * np.sqrt(np.pi) / (2 ** (radial.l + 2) * radial.exponents ** (radial.l + 1.5))


def _onsite_block(atom: AtomicBasis) -> np.ndarray:
    block = np.zeros((atom.size, atom.size))
    products = _shell_products(atom)
    for i, (l1, row) in enumerate(zip(atom.angular_momenta, _starts(atom), strict=True)):
        for j, (l2, column) in enumerate(zip(atom.angular_momenta, _starts(atom), strict=True)):
            if l1 == l2:
                block[row : row + 2 * l1 + 1, column : column + 2 * l1 + 1] = products[i, j] * np.eye(2 * l1 + 1)
    return block


def _shell_products(atom: AtomicBasis) -> np.ndarray:
    """Int r^2 R R' dr between all shells of an atom, in real space, (shells, shells)."""
    knots = [shell.radial.radii for shell in atom.shells if isinstance(shell.radial, TabulatedRadial)]
    r, weights = _radial_quadrature(np.unique(np.concatenate([np.geomspace(1e-3, atom.reach, 400), *knots])), width=np.inf)
    values = np.array([shell.radial(r) for shell in atom.shells])
    return values * (weights * r**2) @ values.T


def _radial_quadrature(edges: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of 4-point Gauss-Legendre panels from 0 to the last edge, none wider than ``width``."""
    edges = np.concatenate([[0.0], edges[edges > 0]])
    steps = np.diff(edges)
    counts = (steps / width).astype(int) + 1
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    edges = np.append(np.repeat(edges[:-1], counts) + within * np.repeat(steps / counts, counts), edges[-1])
    nodes, weights = np.polynomial.legendre.leggauss(4)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()
