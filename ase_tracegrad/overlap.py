"""S(R) of any structure from the basis alone: two-centre integrals of atomic orbitals, no DFT run.

    <R1 Y_l1m1 (0) | R2 Y_l2m2 (d)> = sum_LM G(l1 m1, l2 m2, L M) Y_LM(d) I_L(|d|)

with G the Gaunt coefficients and I_L as in radial_integrals.py (O. F. Sankey and D. J. Niklewski, Phys. Rev. B 40, 3979 (1989);
J. M. Soler et al., J. Phys.: Condens. Matter 14, 2745 (2002), section 4). The radial integrals are splined once per
element pair; a new structure costs one spline evaluation per atom pair.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

from .basis import AtomicBasis, Basis, GaussianRadial, TabulatedRadial
from .blocks import BlockMatrix
from .graph import build_graph
from .harmonics import gaunt_coefficients, real_spherical_harmonics
from .radial_integrals import RadialFunction, build_integrals, list_terms, radial_products
from .structure import Structure

log = logging.getLogger(__name__)

CLOSEST = 0.4  # Angstrom, where the tables begin; build_graph refuses nearer atoms
SPLINE_TOLERANCE = 2e-10
CHUNK = 1024  # pairs at a time, so that their blocks stay in the processor's cache


def compute_overlap(structure, basis: Basis) -> BlockMatrix:
    """The overlap matrix S(R), dimensionless, on all pairs nearer than the sum of the atoms' reaches.

    structure: a Structure or ase.Atoms. Accurate to about 1e-9 for Gaussians and for tabulated
    orbitals that are smooth at their end. ValueError if the basis holds no radial functions,
    StructureError for a structure that cannot be right.
    """
    structure = structure if isinstance(structure, Structure) else Structure.from_atoms(structure)
    check_radials(basis, structure.numbers)
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


def check_radials(basis: Basis, numbers: np.ndarray):
    """ValueError unless the basis holds the radial functions of all these elements."""
    for number in np.unique(numbers):
        if not basis[number].shells:
            raise ValueError(
                f"integrals need the radial functions of element {number}, but this basis ({basis.name or 'unnamed'}) "
                "holds only its shells: read them from the DFT code's basis files (CP2K BASIS_*, OpenMX .pao, SIESTA .ion)"
            )


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
    key = (describe_radials(a), describe_radials(b))
    if key not in _tables:
        first = find_radials(a)
        second = first if key[0] == key[1] else find_radials(b)
        _tables[key] = build_table(first, second, f"elements {a.number} and {b.number}")
    return _tables[key]


_onsite_blocks: dict[tuple, np.ndarray] = {}


def find_onsite_block(atom: AtomicBasis) -> np.ndarray:
    """<phi|phi'> on one atom, (n, n), computed at the first request in this process."""
    key = describe_radials(atom)
    if key not in _onsite_blocks:
        radials = find_radials(atom)
        _onsite_blocks[key] = build_onsite_block(radials, radials)
    return _onsite_blocks[key]


def find_radials(atom: AtomicBasis) -> tuple[GaussianRadial | TabulatedRadial, ...]:
    """The radial functions of an atom's shells."""
    return tuple(shell.radial for shell in atom.shells)


def describe_radials(atom: AtomicBasis) -> tuple:
    """What decides the integrals, hashable: two copies of a basis share their tables."""
    numbers = []
    for shell in atom.shells:
        radial = shell.radial
        arrays = (radial.exponents, radial.coefficients) if isinstance(radial, GaussianRadial) else (radial.radii, radial.values)
        numbers.append((shell.l, radial.reach, *(array.tobytes() for array in arrays)))
    return tuple(numbers)


def build_table(first: Sequence[RadialFunction], second: Sequence[RadialFunction], label: str) -> PairTable:
    """The table of two sets of radial functions; label: of the two, for the log."""
    reach = max(radial.reach for radial in first) + max(radial.reach for radial in second)
    starts, others = find_starts(first), find_starts(second)
    terms = tuple((first[i].l, starts[i], second[j].l, others[j], total) for i, j, total in list_terms(first, second))
    integrals = build_integrals(first, second, label)

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
        log.warning("table of %s: interpolation error %.1e", label, error)
    return PairTable((starts[-1], others[-1]), terms, spline)


def find_starts(radials: Sequence[RadialFunction]) -> list[int]:
    """First orbital of each radial function and, at the end, the number of orbitals."""
    return np.concatenate([[0], np.cumsum([2 * radial.l + 1 for radial in radials])]).astype(int).tolist()


def build_onsite_block(first: Sequence[RadialFunction], second: Sequence[RadialFunction]) -> np.ndarray:
    """<R Y_lm | R' Y_l'm'> of functions around one point, (n, n')."""
    starts, others = find_starts(first), find_starts(second)
    block, products = np.zeros((starts[-1], others[-1])), radial_products(first, second)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            if one.l == other.l:
                rows, columns = (slice(s, s + 2 * one.l + 1) for s in (starts[i], others[j]))
                block[rows, columns] = products[i, j] * np.eye(2 * one.l + 1)
    return block
