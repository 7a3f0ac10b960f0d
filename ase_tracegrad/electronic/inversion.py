"""Inversion: a crystal with an inversion centre has real H(k) at every k, in orbitals chosen for it.

Inversion takes orbital a of atom p to (-1)^l times that of atom p', -f_p + t = f_p' + T_p. With time reversal
H(k) = M conj(H(k)) M^+, M = (-1)^l exp(-2 pi i k.T_p) from p to p', symmetric and unitary. Orbitals
(f + m) / sqrt 2 and i (f - m) / sqrt 2 of an atom and its image, phases included, and those of atoms on a
centre times sqrt((-1)^l), make M one, so that H(k) is real. Real arithmetic is two to three times faster.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..basis import OrbitalLayout
from ..structure import Structure

# Candidates for the centre are tried on a few atoms before all.
TRIED_FIRST = 8


@dataclass(frozen=True, eq=False)
class Inversion:
    """Where inversion takes the atoms: images (N,) int and cells T (N, 3) int, -f_p + t = f_image + T."""

    images: np.ndarray
    cells: np.ndarray

    def arrange(self, layout: OrbitalLayout) -> "RealOrbitals":
        """The orbitals that make H(k) real; ValueError if the layout has other atoms."""
        if len(self.images) != layout.n_atoms:
            raise ValueError(f"the inversion is of {len(self.images)} atoms, the matrix has {layout.n_atoms}")
        if any(layout.shells[a] != layout.shells[b] for a, b in enumerate(self.images.tolist())):
            raise ValueError("an atom and its image under inversion have different orbitals")
        atoms = np.repeat(np.arange(layout.n_atoms), layout.sizes)
        within = np.arange(layout.total) - layout.offsets[atoms]
        mates = layout.offsets[self.images[atoms]] + within
        degrees = [l for shells in layout.shells for l in shells for _ in range(2 * l + 1)]
        orbitals = np.arange(layout.total)
        alone, first = orbitals[mates == orbitals], orbitals[mates > orbitals]
        # The phases of an atom and its image multiply to exp(-2 pi i k.T): the image takes all, an atom alone half.
        cells = np.where((self.images > np.arange(layout.n_atoms))[:, None], 0.0, self.cells.astype(float))
        cells[self.images == np.arange(layout.n_atoms)] /= 2
        return RealOrbitals(alone, first, mates[first], (-1.0) ** np.array(degrees), cells[atoms])


@dataclass(frozen=True, eq=False)
class RealOrbitals:
    """alone, first, mates: numbers of the orbitals of atoms on a centre, of one atom of each pair, of its image.

    parities (N,): (-1)^l; cells (N, 3): phases exp(-2 pi i k.cell) of the orbitals.
    """

    alone: np.ndarray
    first: np.ndarray
    mates: np.ndarray
    parities: np.ndarray
    cells: np.ndarray

    @property
    def n_rows(self) -> int:
        """Rows of H(k), of orbitals alone and first, that determine all of it."""
        return len(self.alone) + len(self.first)

    @cached_property
    def places(self) -> np.ndarray:
        """(N,) place of each orbital in the order alone, first, mates."""
        return np.argsort(np.concatenate([self.alone, self.first, self.mates]))

    @cached_property
    def signs(self) -> np.ndarray:
        """(N,) (-1)^l of the mates, 1 of the others, in the order of ``places``."""
        return np.concatenate([np.ones(self.n_rows), self.parities[self.mates]])

    @cached_property
    def _roots(self) -> np.ndarray:
        """sqrt((-1)^l) of the orbitals alone."""
        return np.sqrt(self.parities[self.alone].astype(complex))

    def make_real(self, rows: np.ndarray) -> np.ndarray:
        """The real matrices (K, N, N) of the first n_rows rows (K, R, N) of H(k) or S(k) in the order, phases and signs of self."""
        n_alone, n_rows = len(self.alone), self.n_rows
        a, f, m = slice(0, n_alone), slice(n_alone, n_rows), slice(n_rows, None)
        same, other = rows[:, f, f], rows[:, f, m]
        out = np.empty((len(rows), rows.shape[2], rows.shape[2]))
        # With B between an orbital and an image, A between orbitals: M = [[A, B], [B*, A*]].
        np.add(same.real, other.real, out=out[:, f, f])
        np.subtract(same.real, other.real, out=out[:, m, m])
        np.add(same.imag, other.imag, out=out[:, m, f])
        np.subtract(other.imag, same.imag, out=out[:, f, m])
        if n_alone:
            turned = rows[:, a] * self._roots[:, None].conj()
            out[:, a, a] = (turned[:, :, a] * self._roots).real
            out[:, a, f] = np.sqrt(2) * turned[:, :, f].real
            out[:, a, m] = -np.sqrt(2) * turned[:, :, f].imag
            out[:, f, a] = out[:, a, f].swapaxes(1, 2)
            out[:, m, a] = out[:, a, m].swapaxes(1, 2)
        return out

    def restore(self, coefficients: np.ndarray, kpts: np.ndarray) -> np.ndarray:
        """Coefficients (K, N, n) of the real orbitals as those of the orbitals of H(k) at kpts (K, 3), complex."""
        alone, plus, minus = np.split(coefficients, [len(self.alone), self.n_rows], axis=1)
        out = np.empty(coefficients.shape, dtype=complex)
        out[:, self.alone] = alone * self._roots[:, None]
        out[:, self.first] = (plus + 1j * minus) / np.sqrt(2)
        out[:, self.mates] = (plus - 1j * minus) * (self.parities[self.mates, None] / np.sqrt(2))
        if self.cells.any():
            out *= np.exp(-2j * np.pi * (kpts @ self.cells.T))[:, :, None]
        return out


def find_inversion(structure: Structure, *, tolerance: float = 1e-3) -> Inversion | None:
    """The inversion that maps the structure onto itself within ``tolerance`` Angstrom, None if there is none.

    Non-periodic axes are not repeated. A structure with several centres in its cell has one of them chosen.
    """
    cell, numbers = structure.complete_cell, structure.numbers
    fractional = structure.positions @ np.linalg.inv(cell)
    kinds, counts = np.unique(numbers, return_counts=True)
    rarest = np.nonzero(numbers == kinds[counts.argmin()])[0]
    few = np.arange(len(numbers))[:: max(1, len(numbers) // TRIED_FIRST)]
    for candidate in rarest.tolist():
        centre = fractional[rarest[0]] + fractional[candidate]
        if (_match(structure, fractional, cell, centre, few, tolerance)[0] < 0).any():
            continue
        images, cells = _match(structure, fractional, cell, centre, np.arange(len(numbers)), tolerance)
        if (images >= 0).all() and (images[images] == np.arange(len(images))).all():
            return Inversion(images, cells)
    return None


def _match(structure: Structure, fractional, cell, centre, atoms: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Image, -1 where there is none, and cell of some atoms under x -> centre - x."""
    images, cells = np.full(len(atoms), -1), np.zeros((len(atoms), 3), dtype=int)
    for n, atom in enumerate(atoms.tolist()):
        difference = centre - fractional[atom] - fractional
        whole = np.where(structure.pbc, np.rint(difference), 0.0)
        distance = np.linalg.norm((difference - whole) @ cell, axis=1)
        distance[structure.numbers != structure.numbers[atom]] = np.inf
        nearest = int(distance.argmin())
        if distance[nearest] < tolerance:
            images[n], cells[n] = nearest, whole[nearest]
    return images, cells
