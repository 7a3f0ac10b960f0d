"""SpaceGroup: the operations that map a structure onto itself (found by spglib), and what they do to its orbitals."""

import warnings
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import spglib
from scipy.spatial.transform import Rotation

from ..basis import OrbitalLayout
from ..structure import Structure

# Moments that differ by less are equal, in the unit they are given in (Bohr magnetons).
MOMENT_TOLERANCE = 1e-3
VACUUM = 10.0  # Angstrom, at least, between a layer, chain or molecule and its images in the search


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """x -> W x + t in fractions of the cell, and where each atom goes: W f_p + t = f_image + T.

    name: international symbol; rotations W (G, 3, 3) int; translations t (G, 3); images (G, N) int,
    cells T (G, N, 3) int; cell (3, 3) Angstrom, rows: the structure's but for vacuum vectors. Identity first.
    """

    name: str
    rotations: np.ndarray
    translations: np.ndarray
    images: np.ndarray
    cells: np.ndarray
    cell: np.ndarray
    _turns: dict = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.rotations)

    @cached_property
    def cartesian(self) -> np.ndarray:
        """(G, 3, 3) orthogonal matrices Q that act on Cartesian column vectors."""
        q = self.cell.T @ self.rotations @ np.linalg.inv(self.cell).T
        # Nearest orthogonal matrix: the cell fulfils the symmetry only within the search tolerance.
        left, _, right = np.linalg.svd(q)
        return left @ right

    @property
    def reciprocal_rotations(self) -> np.ndarray:
        """(G, 3, 3) int: k -> W^-T k in fractions of the reciprocal vectors."""
        return np.rint(np.linalg.inv(self.rotations)).astype(int).transpose(0, 2, 1)

    def find_generators(self) -> np.ndarray:
        """(G,) bool: operations whose products give all rotations; what is invariant under these is so under all."""
        chosen = np.zeros(len(self), dtype=bool)
        products = np.eye(3, dtype=int)[None]
        for g, rotation in enumerate(self.rotations):
            if (products == rotation).all(axis=(1, 2)).any():
                continue
            chosen[g] = True
            size = 0
            while size < len(products):
                size = len(products)
                longer = np.einsum("gab,hbc->ghac", self.rotations[chosen], products).reshape(-1, 3, 3)
                products = np.unique(np.concatenate([products, longer]), axis=0)
        return chosen

    def select(self, keep) -> "SpaceGroup":
        """Only the operations where ``keep`` (G,) is true; they should form a group."""
        keep = np.asarray(keep, dtype=bool)
        return SpaceGroup(self.name, self.rotations[keep], self.translations[keep], self.images[keep], self.cells[keep], self.cell)

    def keep_moments(self, moments, *, sign: int = 1) -> np.ndarray:
        """(G,) bool: operations that map magnetic moments (N, 3), Cartesian axial vectors, onto ``sign`` times themselves.

        With sign = -1 these, followed by time reversal, are symmetries.
        """
        moments = np.asarray(moments, dtype=float)
        if moments.shape != (self.images.shape[1], 3):
            raise ValueError(f"expected moments of shape ({self.images.shape[1]}, 3), found {moments.shape}")
        turned = np.linalg.det(self.cartesian)[:, None, None] * (moments @ self.cartesian.transpose(0, 2, 1))
        return np.abs(sign * turned - moments[self.images]).max(axis=(1, 2)) < MOMENT_TOLERANCE

    def orbital_rotation(self, operation: int, layout: OrbitalLayout, atom: int, n_spin: int = 1) -> np.ndarray:
        """How the orbitals of an atom turn under an operation: (n, n), times the rotation of a spin 1/2 for n_spin = 2."""
        key = operation, layout.shells[atom], n_spin
        if key not in self._turns:
            turned = layout.rotation(atom, self.cartesian[operation])
            self._turns[key] = turned if n_spin == 1 else np.kron(spin_rotation(self.cartesian[operation]), turned)
        return self._turns[key]


def spin_rotation(rotation: np.ndarray) -> np.ndarray:
    """SU(2) matrix cos(a/2) - i sin(a/2) n.sigma of an orthogonal matrix, (2, 2), up to its sign; inversion leaves spins alone."""
    proper = rotation * np.sign(np.linalg.det(rotation))
    x, y, z, w = Rotation.from_matrix(proper).as_quat()
    return np.array([[w - 1j * z, -1j * x - y], [-1j * x + y, w + 1j * z]])


def find_space_group(structure: Structure, *, tolerance: float = 1e-4) -> SpaceGroup:
    """Operations that map the structure onto itself within ``tolerance`` Angstrom.

    Non-periodic axes keep to themselves: no operation mixes them with periodic ones or moves atoms by a
    vacuum period; a structure periodic in a plane is named by its layer group. The cell of the group has other vacuum
    vectors than the structure (_choose_vacuum). Raises ValueError if the structure is too damaged for a search.
    """
    cell, periodic = _choose_vacuum(structure), structure.pbc
    fractional = structure.positions @ np.linalg.inv(cell)
    found = _search(cell, fractional, structure.numbers, tolerance)
    rotations, translations = np.asarray(found.rotations, dtype=int), np.asarray(found.translations, dtype=float)
    images, cells = _match_atoms(rotations, translations, fractional, structure.numbers, cell, tolerance)
    mixing = rotations[:, periodic][:, :, ~periodic].any(axis=(1, 2)) | rotations[:, ~periodic][:, :, periodic].any(axis=(1, 2))
    leaving = _vacuum_translation(cells, periodic)
    keep = ~mixing & ~leaving & (images >= 0).all(axis=1)
    # A molecule has a point group; the lattice that spglib puts around it is not there.
    name = found.international if periodic.any() else found.pointgroup
    group = SpaceGroup(name, rotations, translations, images, cells, cell).select(keep)
    if periodic.sum() == 2:
        layer = _search(cell, fractional, structure.numbers, tolerance, aperiodic=int(np.argmin(periodic)))
        group = SpaceGroup(
            layer.international, *(getattr(group, f) for f in ("rotations", "translations", "images", "cells", "cell"))
        )
    return group


def _choose_vacuum(structure: Structure) -> np.ndarray:
    """The cell with vacuum vectors that break no symmetry: at right angles to the periodic ones, equal, and long.

    Length and tilt of the given ones mean nothing, and where there is none a molecule would be folded into a box that is
    smaller than itself.
    """
    cell, vacuum = structure.complete_cell, ~structure.pbc
    along = np.linalg.pinv(cell[structure.pbc]) @ cell[structure.pbc]
    across = cell[vacuum] - cell[vacuum] @ along
    length = VACUUM + 3 * np.ptp(structure.positions, axis=0).max() + np.abs(cell[structure.pbc]).sum()
    cell[vacuum] = length * across / np.linalg.norm(across, axis=1, keepdims=True)
    return cell


def _search(cell, fractional, numbers, tolerance: float, aperiodic: int | None = None):
    """spglib's data set; its releases announce failure by None, an exception or both, and warn about the change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            if aperiodic is None:
                found = spglib.get_symmetry_dataset((cell, fractional, numbers), symprec=tolerance)
            else:
                found = spglib.get_layergroup((cell, fractional, numbers), aperiodic_dir=aperiodic, symprec=tolerance)
        except spglib.SpglibError as error:
            raise ValueError(f"spglib found no space group: {error}; are two atoms at one place?") from None
    if found is None:
        raise ValueError("spglib found no space group; are two atoms at one place, or is the cell degenerate?")
    return found


def _match_atoms(rotations, translations, fractional, numbers, cell, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Image atom (G, N), -1 where there is none, and cell translation (G, N, 3) of each atom under each operation."""
    images = np.full((len(rotations), len(fractional)), -1)
    cells = np.zeros((*images.shape, 3), dtype=int)
    same = numbers[:, None] == numbers[None, :]
    for g, (rotation, translation) in enumerate(zip(rotations, translations, strict=True)):
        difference = (fractional @ rotation.T + translation)[:, None] - fractional[None]
        whole = np.rint(difference)
        distance = np.where(same, np.linalg.norm((difference - whole) @ cell, axis=-1), np.inf)
        nearest = distance.argmin(axis=1)
        atoms = np.arange(len(fractional))
        matched = distance[atoms, nearest] < 10 * tolerance
        images[g] = np.where(matched, nearest, -1)
        cells[g] = whole[atoms, nearest]
    return images, cells


def _vacuum_translation(cells: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """(G,) whether some atoms, but not others, cross a non-periodic boundary, so that the operation needs the repetition there."""
    across = cells[:, :, ~periodic]
    return (across != across[:, :1]).any(axis=(1, 2))
