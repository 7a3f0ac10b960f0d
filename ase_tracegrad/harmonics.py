"""Real spherical harmonics in the order and sign of this package, and how they rotate.

Inside a shell m runs from -l to l, without the Condon-Shortley phase:
p = (y, z, x), d = (xy, yz, z2, xz, x2-y2).
"""

from functools import cache

import numpy as np
from scipy.special import gammaln


def real_spherical_harmonics(l: int, vectors) -> np.ndarray:
    """Orthonormal real harmonics Y_lm of the directions of ``vectors``.

    vectors: (..., 3), any non-zero length; a zero vector is given the direction z.
    Returns (..., 2l+1), m = -l..l. Built from z and powers of (x + iy), so neither
    angles nor divisions by sin(theta) appear.
    """
    vectors = np.asarray(vectors, dtype=float)
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = np.where(norm > 0, vectors / np.where(norm > 0, norm, 1.0), [0.0, 0.0, 1.0])
    z = unit[..., 2]
    planar = unit[..., 0] + 1j * unit[..., 1]
    legendre = _legendre_over_sine(l, z)
    out = np.empty(unit.shape[:-1] + (2 * l + 1,))
    for m in range(l + 1):
        scale = np.sqrt((2 * l + 1) / (4 * np.pi) * np.exp(gammaln(l - m + 1) - gammaln(l + m + 1)))
        if m == 0:
            out[..., l] = scale * legendre[0]
        else:
            azimuthal = planar**m
            out[..., l + m] = np.sqrt(2) * scale * legendre[m] * azimuthal.real
            out[..., l - m] = np.sqrt(2) * scale * legendre[m] * azimuthal.imag
    return out


def _legendre_over_sine(l: int, z: np.ndarray) -> list[np.ndarray]:
    """|P_l^m(z)| / sin(theta)^m for m = 0..l, by the stable upward recursion in l."""
    values = []
    for m in range(l + 1):
        current = np.full_like(z, np.prod(np.arange(1, 2 * m, 2), dtype=float))  # (2m-1)!!
        previous = np.zeros_like(z)
        for degree in range(m + 1, l + 1):
            current, previous = (
                ((2 * degree - 1) * z * current - (degree + m - 1) * previous) / (degree - m),
                current,
            )
        values.append(current)
    return values


def shell_rotation(l: int, rotation) -> np.ndarray:
    """Matrix D with Y_l(Q v) = D Y_l(v) for an orthogonal 3x3 matrix Q, proper or improper.

    Returns (2l+1, 2l+1), orthogonal. It is obtained by least squares on fixed directions,
    which holds for inversions and mirrors as well and needs no angle convention.
    """
    rotation = np.asarray(rotation, dtype=float)
    if rotation.shape != (3, 3) or not np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-8:
        raise ValueError(f"expected an orthogonal 3x3 matrix, found\n{rotation}")
    directions, inverse = _fitting_directions(l)
    return (inverse @ real_spherical_harmonics(l, directions @ rotation.T)).T


@cache
def _fitting_directions(l: int) -> tuple[np.ndarray, np.ndarray]:
    directions = np.random.default_rng(l).normal(size=(8 * l + 8, 3))
    return directions, np.linalg.pinv(real_spherical_harmonics(l, directions))


@cache
def gaunt_coefficients(l1: int, l2: int, l3: int) -> np.ndarray:
    """Integral of Y_l1m1 Y_l2m2 Y_l3m3 over the sphere, (2l1+1, 2l2+1, 2l3+1).

    Exact for these polynomials: Gauss-Legendre in z, equal steps in the azimuth.
    """
    n = l1 + l2 + l3 + 1
    nodes, weights = np.polynomial.legendre.leggauss(n)
    z, phi = np.meshgrid(nodes, np.arange(2 * n) * np.pi / n, indexing="ij")
    sine = np.sqrt(1 - z**2)
    directions = np.stack([sine * np.cos(phi), sine * np.sin(phi), z], axis=-1)
    harmonics = [real_spherical_harmonics(l, directions) for l in (l1, l2, l3)]
    return np.einsum("z,zpa,zpb,zpc->abc", weights * np.pi / n, *harmonics)
