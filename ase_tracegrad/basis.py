"""The atomic orbitals: shells with their radial functions, per element, and where they stand in a matrix.

A radial function R(r) is in Angstrom^(-3/2) and, but for codes that do otherwise, normalised to
Int r^2 R(r)^2 dr = 1; an orbital is R(r) Y_lm(direction).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gamma

LAST_ELEMENT = 118
LARGEST_L = 12  # of a shell; no basis set has higher ones, damaged files do


@dataclass(frozen=True, eq=False)
class GaussianRadial:
    """R(r) = r^l sum_i c_i exp(-a_i r^2), normalised at birth.

    exponents: (n,) in 1/Angstrom^2; coefficients: (n,) of the bare (unnormalised) primitives.
    """

    l: int
    exponents: np.ndarray
    coefficients: np.ndarray
    # The orbital is taken as zero where |r R(r)| stays below this everywhere outside (Angstrom^-1/2).
    tolerance: float = 1e-8

    def __post_init__(self):
        exponents = np.asarray(self.exponents, dtype=float)
        coefficients = np.asarray(self.coefficients, dtype=float)
        if exponents.shape != coefficients.shape or exponents.ndim != 1 or not len(exponents):
            raise ValueError(
                f"expected one coefficient per exponent, found {exponents.shape} exponents, {coefficients.shape} coefficients"
            )
        if not (np.isfinite(exponents).all() and (exponents > 0).all() and np.isfinite(coefficients).all()):
            raise ValueError("Gaussian exponents must be positive and all numbers finite")
        # Int r^(2l+2) exp(-p r^2) dr = Gamma(l + 3/2) / (2 p^(l + 3/2))
        total = exponents[:, None] + exponents[None, :]
        with np.errstate(all="ignore"):  # what overflows is refused
            norm2 = coefficients @ (gamma(self.l + 1.5) / (2 * total ** (self.l + 1.5))) @ coefficients
        if not 0 < norm2 < np.inf or not self.tolerance > 0:
            raise ValueError("the contracted Gaussian vanishes, or is too large or too narrow for any number")
        object.__setattr__(self, "exponents", exponents)
        object.__setattr__(self, "coefficients", coefficients / np.sqrt(norm2))

    def __call__(self, r) -> np.ndarray:
        r = np.asarray(r, dtype=float)
        return r**self.l * (np.exp(-(r[..., None] ** 2) * self.exponents) @ self.coefficients)

    @cached_property
    def reach(self) -> float:
        """Radius in Angstrom beyond which the orbital is taken as zero."""
        r = np.arange(0.1, 60.0, 0.02)
        bound = r ** (self.l + 1) * (np.exp(-(r[:, None] ** 2) * self.exponents) @ np.abs(self.coefficients))
        return float(r[np.nonzero(bound > self.tolerance)[0][-1:]].max(initial=r[0]))


@dataclass(frozen=True, eq=False)
class TabulatedRadial:
    """R(r) on a grid from the origin to the reach, zero beyond; normalised at birth unless told otherwise.

    radii: (n,) Angstrom, increasing; values: (n,) Angstrom^(-3/2).
    """

    l: int
    radii: np.ndarray
    values: np.ndarray
    # For OpenMX only, whose orbitals are used as they stand in the file, with norms off by a per cent, and whose
    # pairs end at the cut-off, although the interpolated orbitals reach a grid point farther.
    normalise: bool = True
    cutoff: float | None = None

    def __post_init__(self):
        radii = np.asarray(self.radii, dtype=float)
        values = np.asarray(self.values, dtype=float)
        if radii.shape != values.shape or radii.ndim != 1 or len(radii) < 8:
            raise ValueError(f"expected at least 8 radii with a value each, found {radii.shape} and {values.shape}")
        if not (np.isfinite(radii).all() and np.isfinite(values).all()) or radii[0] < 0 or (np.diff(radii) <= 0).any():
            raise ValueError("a radial grid must be finite, start at or above zero and increase")
        if self.cutoff is not None and not 0 < self.cutoff <= radii[-1]:
            raise ValueError(f"the cut-off {self.cutoff} must lie within the grid, which ends at {radii[-1]}")
        object.__setattr__(self, "radii", radii)
        object.__setattr__(self, "values", values)
        integral = self._spline_square_integral()
        if not 0 < integral < np.inf:
            raise ValueError("the radial function vanishes, or is too large for any number")
        if self.normalise:
            object.__setattr__(self, "values", values / np.sqrt(integral))
            self.__dict__.pop("_spline", None)

    @cached_property
    def _spline(self):
        from scipy.interpolate import CubicSpline

        return CubicSpline(self.radii, self.values)

    def _spline_square_integral(self) -> float:
        nodes, weights = np.polynomial.legendre.leggauss(6)
        left, right = self.radii[:-1, None], self.radii[1:, None]
        r = (left + right) / 2 + (right - left) / 2 * nodes
        with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses what overflows
            return float(np.sum((right - left) / 2 * weights * r**2 * self._spline(r) ** 2))

    def __call__(self, r) -> np.ndarray:
        r = np.asarray(r, dtype=float)
        return np.where(r <= self.radii[-1], self._spline(np.clip(r, self.radii[0], self.radii[-1])), 0.0)

    @property
    def reach(self) -> float:
        """Radius in Angstrom from which pairs follow: the end of the table, or the cut-off given."""
        return float(self.radii[-1]) if self.cutoff is None else self.cutoff


@dataclass(frozen=True)
class Shell:
    """2l+1 orbitals with a common radial function."""

    l: int
    radial: GaussianRadial | TabulatedRadial

    def __post_init__(self):
        if self.l < 0 or self.radial.l != self.l:
            raise ValueError(f"a shell needs l >= 0 equal to its radial function's; found {self.l} and {self.radial.l}")

    @property
    def reach(self) -> float:
        """Radius of the radial function, Angstrom."""
        return self.radial.reach


@dataclass(frozen=True)
class AtomicBasis:
    """The shells of one element and the number of its valence electrons.

    shells may carry no radial functions when a file format does not store them; then
    ``shells`` is empty and ``angular_momenta`` alone describes the blocks.
    """

    number: int
    angular_momenta: tuple[int, ...]
    shells: tuple[Shell, ...] = ()
    valence: float | None = None

    def __post_init__(self):
        if not 1 <= self.number <= LAST_ELEMENT:
            raise ValueError(f"there is no element of atomic number {self.number}")
        if not self.angular_momenta:
            raise ValueError(f"element {self.number} has no shells")
        if min(self.angular_momenta) < 0:
            raise ValueError(f"element {self.number} has a shell of negative l: {list(self.angular_momenta)}")
        if max(self.angular_momenta) > LARGEST_L:
            raise ValueError(f"element {self.number} has a shell of l = {max(self.angular_momenta)}, expected at most {LARGEST_L}")
        if self.valence is not None and not 0 < self.valence <= self.number:
            raise ValueError(f"element {self.number} has between 1 and Z valence electrons, found {self.valence}")
        if self.shells and tuple(s.l for s in self.shells) != self.angular_momenta:
            raise ValueError(
                f"element {self.number}: shells have l = {[s.l for s in self.shells]}, announced {list(self.angular_momenta)}"
            )

    @property
    def size(self) -> int:
        """Number of orbitals."""
        return sum(2 * l + 1 for l in self.angular_momenta)

    @property
    def reach(self) -> float:
        """Largest reach of a shell, Angstrom."""
        if not self.shells:
            raise ValueError(f"the basis of element {self.number} has no radial functions, so its reach is unknown")
        return max(s.reach for s in self.shells)


@dataclass(frozen=True)
class Basis:
    """Atomic bases by atomic number, with the code, functional and name they were made for."""

    atoms: dict[int, AtomicBasis]
    name: str = ""
    code: str = ""
    xc: str = ""

    def __getitem__(self, number: int) -> AtomicBasis:
        try:
            return self.atoms[int(number)]
        except KeyError:
            raise KeyError(f"no orbitals for element {int(number)}; this basis holds {sorted(self.atoms)}") from None

    def layout(self, numbers) -> "OrbitalLayout":
        """Where the orbitals of a structure with these atomic numbers stand."""
        return OrbitalLayout(tuple(self[z].angular_momenta for z in numbers))

    def count_electrons(self, numbers) -> float:
        """Valence electrons of the neutral structure."""
        missing = sorted({int(z) for z in numbers if self[z].valence is None})
        if missing:
            raise ValueError(f"the valence charge of element(s) {missing} is unknown: pass the number of electrons")
        return float(sum(self[z].valence for z in numbers))  # type: ignore[misc]


@dataclass(frozen=True)
class OrbitalLayout:
    """Shells of each atom of a structure, in order; orbitals are numbered atom by atom, shell by shell."""

    shells: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N,) orbitals of each atom."""
        return np.array([sum(2 * l + 1 for l in atom) for atom in self.shells], dtype=int)

    @cached_property
    def offsets(self) -> np.ndarray:
        """(N+1,) first orbital of each atom."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(int)

    @property
    def total(self) -> int:
        """Number of orbitals."""
        return int(self.offsets[-1])

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.shells)

    def rotation(self, atom: int, rotation) -> np.ndarray:
        """Block-diagonal rotation of the orbitals of one atom, (n, n); see harmonics.shell_rotation."""
        from .harmonics import shell_rotation

        turns = {l: shell_rotation(l, rotation) for l in set(self.shells[atom])}
        whole, first = np.zeros((self.sizes[atom], self.sizes[atom])), 0
        for l in self.shells[atom]:
            last = first + 2 * l + 1
            whole[first:last, first:last] = turns[l]
            first = last
        return whole
