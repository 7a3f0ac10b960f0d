"""The radial part of two-centre integrals: in closed form for Gaussians, by quadrature in q for tabulated functions.

    I_L(d) = 8 (-1)^((l1 - l2 - L)/2) Int q^2 f1(q) f2(q) j_L(q d) dq,   f(q) = Int r^2 R(r) j_l(q r) dr

for every pair of radial functions of two atoms and every L from |l1 - l2| to l1 + l2 in steps of 2 (a "term").
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import eval_genlaguerre, factorial, spherical_jn

from .basis import GaussianRadial, TabulatedRadial

log = logging.getLogger(__name__)

NORM_TOLERANCE = 2e-10  # part of an orbital's norm that may lie beyond the largest q
LARGEST_Q = 400.0  # 1/Angstrom; only orbitals with a kink or a core cusp need more


@dataclass(frozen=True, eq=False)
class RadialMoment:
    """r R(r) of a shell, as the part of angular momentum l of the vector r times its orbitals; l: the shell's plus or minus 1."""

    l: int
    radial: GaussianRadial | TabulatedRadial

    def __post_init__(self):
        if self.l < 0 or abs(self.l - self.radial.l) != 1:
            raise ValueError(f"r times an orbital of l = {self.radial.l} has parts of l + 1 and l - 1 >= 0, not of {self.l}")

    @property
    def reach(self) -> float:
        """That of the shell, Angstrom."""
        return self.radial.reach

    def __call__(self, r) -> np.ndarray:
        return np.asarray(r, dtype=float) * self.radial(r)


RadialFunction = GaussianRadial | TabulatedRadial | RadialMoment


def list_terms(first: Sequence[RadialFunction], second: Sequence[RadialFunction]) -> list[tuple[int, int, int]]:
    """(number in first, number in second, L) of each integral, in the order of build_integrals."""
    return [
        (i, j, total)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
        for total in range(abs(one.l - other.l), one.l + other.l + 1, 2)
    ]


def build_integrals(
    first: Sequence[RadialFunction], second: Sequence[RadialFunction], label: str
) -> Callable[[np.ndarray], np.ndarray]:
    """Function from distances d (E,) Angstrom to I_L(d) of all terms of two atoms, (E, terms); label: of the two, for the log."""
    if all(isinstance(find_shape(radial), GaussianRadial) for radial in (*first, *second)):
        return closed_integrals(first, second)
    reach = max(radial.reach for radial in first) + max(radial.reach for radial in second)
    return numerical_integrals(first, second, np.pi / (1.25 * reach), label)


def find_shape(radial: RadialFunction) -> GaussianRadial | TabulatedRadial:
    """The radial function itself, or what it is the moment of."""
    return radial.radial if isinstance(radial, RadialMoment) else radial


def closed_integrals(first: Sequence[RadialFunction], second: Sequence[RadialFunction]) -> Callable[[np.ndarray], np.ndarray]:
    """build_integrals for Gaussians.

    Int q^(2n+L+2) exp(-p q^2) j_L(q d) dq = sqrt(pi) n! d^L exp(-x) L_n^(L+1/2)(x) / (2^(L+2) p^(n+L+3/2)), x = d^2 / 4p
    (I. S. Gradshteyn and I. M. Ryzhik, 6.631.10, with j_L written as a Bessel function of order L + 1/2).
    """

    def integrals(distances: np.ndarray) -> np.ndarray:
        columns = []
        for a in first:
            for b in second:
                widths = (1 / (4 * _exponents(a)[:, None]) + 1 / (4 * _exponents(b))).ravel()
                products = [
                    (i + j, np.outer(one, other).ravel())
                    for i, one in enumerate(_transform_scales(a))
                    for j, other in enumerate(_transform_scales(b))
                ]
                x = distances[:, None] ** 2 / (4 * widths)
                decay = np.exp(-x)
                for total in range(abs(a.l - b.l), a.l + b.l + 1, 2):
                    column = np.zeros(len(distances))
                    for power, scales in products:
                        n = (a.l + b.l - total) // 2 + power
                        polynomial = eval_genlaguerre(n, total + 0.5, x)
                        column += factorial(n) * (decay * polynomial @ (scales / widths ** (n + total + 1.5)))
                    factor = 8 * (-1) ** ((a.l - b.l - total) // 2) * np.sqrt(np.pi) / 2 ** (total + 2)
                    columns.append(factor * distances**total * column)
        return np.array(columns).T

    return integrals


def numerical_integrals(
    first: Sequence[RadialFunction], second: Sequence[RadialFunction], step: float, label: str
) -> Callable[[np.ndarray], np.ndarray]:
    """build_integrals by quadrature in q with this step, 1/Angstrom."""
    q, f_a, f_b = _transforms(first, second, step, label)
    terms = list_terms(first, second)
    degrees = np.array([total for _, _, total in terms])
    integrands = [8 * (-1) ** ((first[i].l - second[j].l - total) // 2) * q[1] * q**2 * f_a[i] * f_b[j] for i, j, total in terms]

    def integrals(distances: np.ndarray) -> np.ndarray:
        values = np.empty((len(distances), len(degrees)))
        for total in set(degrees.tolist()):
            columns = np.nonzero(degrees == total)[0]
            weights = np.array([integrands[c] for c in columns]).T
            values[:, columns] = spherical_jn(total, distances[:, None] * q) @ weights
        return values

    return integrals


def radial_products(first: Sequence[RadialFunction], second: Sequence[RadialFunction]) -> np.ndarray:
    """Int r^2 R R' dr in real space, (functions of first, functions of second)."""
    both = (*first, *second)
    knots = [shape.radii for shape in map(find_shape, both) if isinstance(shape, TabulatedRadial)]
    reach = max(radial.reach for radial in both)
    r, weights = _radial_quadrature(np.unique(np.concatenate([np.geomspace(1e-3, reach, 400), *knots])), width=np.inf)
    values, others = (np.array([radial(r) for radial in side]) for side in (first, second))
    return values * (weights * r**2) @ others.T


def _transforms(
    first: Sequence[RadialFunction], second: Sequence[RadialFunction], step: float, label: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An even grid of q from 0, (n,) 1/Angstrom, and f(q) of the functions of both atoms, (functions, n).

    The integrand in q is even and its Fourier transform ends at twice the sum of the reaches, so the
    trapezoidal rule is exact for any step below pi / (sum of reaches): only the tail beyond the last q
    is lost. By Cauchy-Schwarz that loss is at most the lost part of the orbitals' norm.
    """
    sides = (first,) if first is second else (first, second)
    norms = [np.diag(radial_products(side, side)) for side in sides]
    transforms = [np.empty((len(side), 0)) for side in sides]
    start, end = 0, int(15 / step)
    while True:
        q = step * np.arange(start, end)
        transforms = [np.hstack([f, _transform(side, q)]) for f, side in zip(transforms, sides, strict=True)]
        q = step * np.arange(end)
        lost = max((norm - 2 / np.pi * step * f**2 @ q**2).max() for f, norm in zip(transforms, norms, strict=True))
        if lost >= NORM_TOLERANCE and q[-1] > LARGEST_Q:
            log.warning(
                "integrals of %s: %.1e of an orbital's norm lies beyond %g 1/Angstrom, and S errs by as much at "
                "most (aimed at %.0e): it has a kink or a narrow core function",
                label,
                lost,
                q[-1],
                NORM_TOLERANCE,
            )
        if lost < NORM_TOLERANCE or q[-1] > LARGEST_Q:
            return q, transforms[0], transforms[-1]
        start, end = end, int(1.5 * end)


def _transform(radials: Sequence[RadialFunction], q: np.ndarray) -> np.ndarray:
    """f(q) = Int r^2 R(r) j_l(q r) dr of every function, (functions, n) Angstrom^(3/2)."""
    out = np.empty((len(radials), len(q)))
    tables: dict[tuple[int, bytes], list[int]] = {}
    for index, radial in enumerate(radials):
        shape = find_shape(radial)
        if isinstance(shape, GaussianRadial):
            decay = np.exp(-(q[:, None] ** 2) / (4 * shape.exponents))
            out[index] = sum(q ** (radial.l + 2 * k) * (decay @ scales) for k, scales in enumerate(_transform_scales(radial)))
        else:
            tables.setdefault((radial.l, shape.radii.tobytes()), []).append(index)
    for (l, radii), members in tables.items():  # shells of one l on one grid share the costly Bessel functions
        r, weights = _radial_quadrature(np.frombuffer(radii), width=2.6 / q[-1])
        integrands = np.array([weights * r**2 * radials[index](r) for index in members]).T
        blocks = [spherical_jn(l, part[:, None] * r) @ integrands for part in np.array_split(q, len(q) // 128 + 1)]
        out[members] = np.concatenate(blocks).T
    return out


def _exponents(radial: RadialFunction) -> np.ndarray:
    shape = find_shape(radial)
    assert isinstance(shape, GaussianRadial)
    return shape.exponents


def _transform_scales(radial: RadialFunction) -> list[np.ndarray]:
    """s_ki of a Gaussian's f(q) = q^l sum_k q^(2k) sum_i s_ki exp(-q^2 / 4 a_i), one (n,) for each k.

    r R(r) = r^(l+2) exp(-a r^2), the part with l one less than the shell's, is minus the derivative of r^l exp(-a r^2) by a.
    """
    shape = find_shape(radial)
    assert isinstance(shape, GaussianRadial)
    a, l = shape.exponents, radial.l
    scales = shape.coefficients * np.sqrt(np.pi) / (2 ** (l + 2) * a ** (l + 1.5))
    return [scales] if l >= shape.l else [(l + 1.5) / a * scales, -scales / (4 * a**2)]


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
