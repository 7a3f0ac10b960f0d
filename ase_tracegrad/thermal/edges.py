"""Band edges of displaced supercells at the k-points where the undisplaced crystal has them.

The smallest gap of a supercell is not the gap at a temperature: disorder splits the edges that fold onto one k-point, and the
extreme of many split levels is biased low. Here an edge is where the states of the undisplaced edge are found again.
"""

from dataclasses import dataclass

import numpy as np

from ..electronic.bloch import BlochSum
from ..electronic.gap import BandGap
from ..electronic.space_group import find_space_group
from ..electronic.unfold import SupercellMap, fold_states, orthonormal_states
from ..structure import Structure

# States this near to an edge belong to it: degenerate by symmetry, but for the errors of a model.
DEGENERATE = 0.005  # eV
# Of each state of the undisplaced edge, the chosen states of a supercell hold at least this.
COVERED = 0.5


@dataclass(frozen=True, eq=False)
class TrackedEdge:
    """An edge of the primitive crystal: name; filled: whether its states are; energy, eV; kpts (K, 3): where it is, one of
    each pair +-k of all equivalent points; states (K, N, D): its D states in orthonormal orbitals."""

    name: str
    filled: bool
    energy: float
    kpts: np.ndarray
    states: np.ndarray


@dataclass(frozen=True, eq=False)
class EdgeEnergies:
    """Of E edges in one supercell: energies (E,) eV; spreads (E,) eV: root mean square distance of the chosen states from it."""

    energies: np.ndarray
    spreads: np.ndarray


def find_edges(sums: BlochSum, structure: Structure, gap: BandGap) -> tuple[TrackedEdge, ...]:
    """Top of the valence band, bottom of the conduction band, and both bands where the direct gap is.

    sums, structure: of the primitive crystal; gap: its gap. Raises ValueError if there is none.
    """
    if gap.is_metal or gap.n_filled is None:
        raise ValueError(
            f"band edges are followed in insulators; found a {gap.kind}. Its spectral function A(k, E, T) has a meaning"
        )
    group = find_space_group(structure)
    wanted = (
        ("vbm", True, gap.k_vbm),
        ("cbm", False, gap.k_cbm),
        ("direct vbm", True, gap.k_direct),
        ("direct cbm", False, gap.k_direct),
    )
    return tuple(_track(sums, name, filled, _star(group, k, sums.is_real), gap.n_filled) for name, filled, k in wanted)


def measure_edges(sums: BlochSum, mapping: SupercellMap, edges: tuple[TrackedEdge, ...], n_filled: int) -> EdgeEnergies:
    """The edges in a supercell; sums: of the supercell; n_filled: its filled bands.

    At each of an edge's k-points: of the supercell's states on its side of the gap those with the largest shares of the edge's
    states, as many as hold COVERED of every state in their span; the mean energy of what they hold (_downfold).
    """
    kpts, where = np.unique(np.concatenate([edge.kpts for edge in edges]), axis=0, return_inverse=True)
    # A list of rows: dropped modes of S may leave fewer bands in one part than in another.
    solved = [row for part in fold_states(sums, mapping, kpts) for row in zip(*part, strict=True)]
    ends = np.cumsum([len(edge.kpts) for edge in edges])
    centres = []
    for edge, numbers in zip(edges, np.split(where.ravel(), ends[:-1]), strict=True):
        side = slice(None, n_filled) if edge.filled else slice(n_filled, None)
        for number, states in zip(numbers, edge.states, strict=True):
            energies, folded = solved[number]
            centres.append(_downfold(energies[side], (states.conj().T @ folded)[:, side]))
    means = [np.mean(part, axis=0) for part in np.split(np.array(centres), ends[:-1])]
    return EdgeEnergies(*np.array(means).T)


def _track(sums: BlochSum, name: str, filled: bool, kpts: np.ndarray, n_filled: int) -> TrackedEdge:
    found = orthonormal_states(sums, kpts)
    band, side = (n_filled - 1, slice(None, n_filled)) if filled else (n_filled, slice(n_filled, None))
    energy = float(np.mean([energies[band] for energies, _ in found]))
    counts = [int((np.abs(energies[side] - energies[band]) < DEGENERATE).sum()) for energies, _ in found]
    n = min(counts)
    columns = slice(n_filled - n, n_filled) if filled else slice(n_filled, n_filled + n)
    return TrackedEdge(name, filled, energy, kpts, np.array([states[:, columns] for _, states in found]))


def _star(group, kpt: np.ndarray, is_real: bool) -> np.ndarray:
    """The k-points equivalent to one, without reciprocal vectors; of +-k one, where E(-k) = E(k) and so are the shares."""
    star: list[np.ndarray] = []
    for k in group.reciprocal_rotations @ kpt:
        known = [k, -k] if is_real else [k]
        if not any(np.abs(x - y - np.rint(x - y)).max() < 1e-6 for x in known for y in star):
            star.append(k - np.rint(k))
    return np.array(star)


def _downfold(energies: np.ndarray, amplitudes: np.ndarray) -> tuple[float, float]:
    """Mean energy of D states in the supercell's n states, and its spread, eV; amplitudes (D, n): <state of the edge|J>.

    With the chosen J, C = sum_J a_J a_J^+ is how much of the edge they hold; tr(C^-1 sum_J E_J a_J a_J^+) / D is the mean of the
    effective Hamiltonian of the edge. Levels that split or mix with what folds onto their k are together, satellites are not.
    """
    shares = (np.abs(amplitudes) ** 2).sum(axis=0)
    order, covered = np.argsort(-shares, kind="stable"), np.zeros((len(amplitudes),) * 2, dtype=complex)
    count = 0
    while count < len(order) and np.linalg.eigvalsh(covered)[0] < COVERED:
        a = amplitudes[:, order[count]]
        covered, count = covered + np.outer(a, a.conj()), count + 1
    chosen = order[:count]
    weights = np.einsum("dj,de,ej->j", amplitudes[:, chosen].conj(), np.linalg.pinv(covered), amplitudes[:, chosen]).real
    weights /= weights.sum()
    mean = float(weights @ energies[chosen])
    return mean, float(np.sqrt(weights @ (energies[chosen] - mean) ** 2))
