"""Integrals of the position, <phi_i| r |phi_j>, from the radial functions alone; the dipole moment needs them.

Around its own atom a component of r times an orbital is a sum of orbitals with the radial function r R(r),

    r_a R(r) Y_lm = r R(r) sqrt(4 pi / 3) sum_LM G(1 a, l m, L M) Y_LM,   L = l - 1, l + 1,

with G the Gaunt coefficients, so these integrals are overlaps with such orbitals, plus the atom's position times S.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from .basis import AtomicBasis, Basis
from .blocks import BlockMatrix
from .graph import build_graph
from .harmonics import gaunt_coefficients
from .overlap import CLOSEST, PairTable, build_onsite_block, build_table, check_radials, describe_radials, find_radials
from .radial_integrals import RadialMoment
from .structure import Structure

AXES = [2, 0, 1]  # where x, y, z stand among the harmonics of l = 1


def compute_dipole_integrals(structure: Structure, basis: Basis, overlap: BlockMatrix) -> tuple[BlockMatrix, ...]:
    """<phi_i| x |phi_j>, and with y and z, in Angstrom on the pairs of orbitals that reach each other: three BlockMatrices.

    overlap: S of the structure, which must not be periodic. Accurate to about 1e-9 for Gaussians. ValueError for a periodic
    structure or a basis without radial functions.
    """
    if structure.pbc.any():
        raise ValueError(f"the position has no matrix elements in a periodic structure; found pbc {structure.pbc.tolist()}")
    check_radials(basis, structure.numbers)
    graph = build_graph(structure, {z: basis[z].reach for z in structure.numbers.tolist()}, closest=CLOSEST)
    sizes = overlap.layout.sizes[graph.pairs].prod(axis=1)
    same = BlockMatrix(overlap.layout, graph.pairs, graph.shifts, np.zeros(sizes.sum()))
    offsets, values = same.offsets, np.empty((3, same.offsets[-1]))
    first, second = structure.numbers[graph.pairs].T
    vectors = graph.vectors
    for a, b in np.unique(np.stack([first, second]), axis=1).T:
        onsite = np.arange(len(first)) < graph.n_onsite
        here = (first == a) & (second == b)
        for pairs in (np.nonzero(here & onsite)[0], np.nonzero(here & ~onsite)[0]):
            if not len(pairs):
                continue
            if pairs[0] < graph.n_onsite:
                blocks = np.repeat(_find_onsite_block(basis[a])[..., None], len(pairs), axis=2)
            else:
                blocks = _find_table(basis[a], basis[b])(vectors[pairs])
            moments = np.einsum("abe,xbc->xeac", blocks, _couple(basis[b].angular_momenta))
            inside = offsets[pairs][:, None] + np.arange(moments.shape[2] * moments.shape[3])
            values[:, inside] = moments.reshape(3, len(pairs), -1)
    positions = np.repeat(structure.positions[graph.pairs[:, 1]], sizes, axis=0).T
    values += positions * overlap.restricted_to(same).values
    return tuple(BlockMatrix(overlap.layout, graph.pairs, graph.shifts, component) for component in values)


@cache
def _couple(angular_momenta: tuple[int, ...]) -> np.ndarray:
    """(3, moments, orbitals): x, y, z times each orbital of an atom as a sum of its moments, shell by shell, L = l - 1, l + 1."""
    parts = [(shell, l, total) for shell, l in enumerate(angular_momenta) for total in (l - 1, l + 1) if total >= 0]
    columns = np.concatenate([[0], np.cumsum([2 * l + 1 for l in angular_momenta])])
    rows = np.concatenate([[0], np.cumsum([2 * total + 1 for _, _, total in parts])])
    coupling = np.zeros((3, rows[-1], columns[-1]))
    for part, (shell, l, total) in enumerate(parts):
        gaunt = np.sqrt(4 * np.pi / 3) * gaunt_coefficients(1, l, total)[AXES]
        coupling[:, rows[part] : rows[part + 1], columns[shell] : columns[shell + 1]] = gaunt.swapaxes(1, 2)
    return coupling


_tables: dict[tuple, PairTable] = {}
_onsite_blocks: dict[tuple, np.ndarray] = {}


def _find_table(a: AtomicBasis, b: AtomicBasis) -> PairTable:
    """Overlaps of the orbitals of a with the moments of those of b, built at the first request in this process."""
    key = (describe_radials(a), describe_radials(b))
    if key not in _tables:
        label = f"elements {a.number} and {b.number}, with r"
        _tables[key] = build_table(find_radials(a), _find_moments(b), label)
    return _tables[key]


def _find_onsite_block(atom: AtomicBasis) -> np.ndarray:
    key = describe_radials(atom)
    if key not in _onsite_blocks:
        _onsite_blocks[key] = build_onsite_block(find_radials(atom), _find_moments(atom))
    return _onsite_blocks[key]


def _find_moments(atom: AtomicBasis) -> Sequence[RadialMoment]:
    """In the order of _couple."""
    return [RadialMoment(l, r) for r in find_radials(atom) for l in (r.l - 1, r.l + 1) if l >= 0]
