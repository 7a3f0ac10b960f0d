"""find_nearest_states: the states next to an energy by block Lanczos iteration on (H - shift S)^-1 S.

Shift-invert block Lanczos with full reorthogonalization and thick restarts (Grimes, Lewis and Simon, SIAM J. Matrix Anal.
Appl. 15, 228 (1994); Wu and Simon, 22, 602 (2000)). A block instead of a vector, because one pass over the factors and
over S then serves all of its columns, and because levels of a crystal are degenerate: an iteration from one vector meets
one state of a level, and its partners by rounding alone.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csc_array

BLOCK = 8
# Largest part of the image of a state that leaves the states found, relative to the eigenvalue 1 / (E - shift).
TOLERANCE = 1e-10
# The same for the next state in the look for missed ones; the error of its eigenvalue is the square.
PROBE = 1e-5
# How much larger the eigenvalues must become by that look for it to have found a missed state, relative.
NEARER = 1e-9
MAX_STEPS = 400
# Columns whose norm less what the others have of them is smaller than this part of it say nothing new.
INDEPENDENT = 1e-12


# Columns (N, b) and S times them.
_Block = tuple[np.ndarray, np.ndarray]


class NoConvergenceError(RuntimeError):
    """The iteration ended before the states were known."""


def count_columns(n_orbitals: int, n_states: int) -> int:
    """Columns of N complex numbers that are kept, twice: of the states, and room so that restarts are few."""
    return min(n_orbitals, 4 * (n_states + BLOCK) + 8 * BLOCK)


def find_nearest_states(
    h: csc_array, s: csc_array, solve: Callable[[np.ndarray], np.ndarray], shift: float, n_states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Energies (n,) in eV and coefficients (N, n), c^+ S c = 1, of the states nearest to ``shift``; in no order.

    solve: the map x -> (H - shift S)^-1 x for columns (N, b). When the states have converged the iteration goes on from a
    new random block, until that has met no nearer state. Raises NoConvergenceError after MAX_STEPS blocks.
    """
    # A fixed start makes the result reproducible; it must not be orthogonal to any state, so it is random.
    rng = np.random.default_rng(0)
    n = h.shape[0]
    n_kept = min(n_states + BLOCK, n)
    basis = _Basis(s, solve, capacity=count_columns(n, n_states))
    known = 0.0
    block = basis.random_block(rng)
    for _ in range(MAX_STEPS):
        width = basis.append(block)
        if not width:  # what the columns span is complete in itself
            block = basis.random_block(rng)
            continue
        block, coupling = basis.extend(width)
        eigenvalues, turns = np.linalg.eigh(basis.projected)
        order = np.argsort(-np.abs(eigenvalues))
        eigenvalues, turns = eigenvalues[order], turns[:, order]
        outside = np.linalg.norm(coupling @ turns[-width:], axis=0) / np.abs(eigenvalues)
        complete = basis.size == n
        if complete or (
            (outside[:n_states] < TOLERANCE).sum() == n_states and (not known or (outside[n_states:] < PROBE)[:1].any())
        ):
            total = np.abs(eigenvalues[:n_states]).sum()
            if complete or (known and total < known * (1 + NEARER)):
                return _diagonalize_among(h, s, basis.columns @ turns[:, :n_states])
            known = total
            basis.restart(eigenvalues[:n_states], turns[:, :n_states])
            block = basis.random_block(rng)
        elif basis.size + BLOCK > basis.capacity < n:
            basis.restart(eigenvalues[:n_kept], turns[:, :n_kept])
    n_known = int((outside[:n_states] < TOLERANCE).sum())
    raise NoConvergenceError(f"{n_known} of {n_states} states around {shift} eV were found in {MAX_STEPS} steps")


class _Basis:
    """S-orthonormal columns V (N, m), S V, and the iterated map A = (H - shift S)^-1 S among them, projected (m, m)."""

    def __init__(self, s: csc_array, solve: Callable[[np.ndarray], np.ndarray], capacity: int):
        self.capacity, self.size = capacity, 0
        self._s, self._solve = s, solve
        self._columns, self._weighted = (np.zeros((s.shape[0], capacity), dtype=complex, order="F") for _ in range(2))
        self._projected = np.zeros((capacity, capacity), dtype=complex)

    @property
    def columns(self) -> np.ndarray:
        return self._columns[:, : self.size]

    @property
    def weighted(self) -> np.ndarray:
        return self._weighted[:, : self.size]

    @property
    def projected(self) -> np.ndarray:
        return self._projected[: self.size, : self.size]

    def random_block(self, rng: np.random.Generator) -> _Block:
        """Columns through the map once, which takes them to the states near the shift."""
        return self._weigh(self._solve(rng.normal(size=(self._s.shape[0], BLOCK)).astype(complex)))

    def append(self, block: _Block) -> int:
        """Take in what is new in the columns of ``block``; the number of columns that came in."""
        columns, weighted = (part[:, : self.capacity - self.size] for part in block)
        for _ in range(2):  # the second time mends what cancellation left
            parts = self.weighted.conj().T @ columns
            columns, weighted = columns - self.columns @ parts, weighted - self.weighted @ parts
            lengths = np.sqrt(np.einsum("ib,ib->b", columns.conj(), weighted).real.clip(min=0))
            some = lengths > INDEPENDENT * lengths.max()
            columns, weighted = columns[:, some] / lengths[some], weighted[:, some] / lengths[some]
            weights, modes = np.linalg.eigh(columns.conj().T @ weighted)
            turns = modes[:, weights > INDEPENDENT] / np.sqrt(weights[weights > INDEPENDENT])
            columns, weighted = columns @ turns, weighted @ turns
        added = slice(self.size, self.size + columns.shape[1])
        self._columns[:, added], self._weighted[:, added] = columns, weighted
        self.size = added.stop
        return columns.shape[1]

    def extend(self, width: int) -> tuple[_Block, np.ndarray]:
        """Project the map on the last ``width`` columns; what of their images lies outside (N, b), and a factor B (b, b) of it.

        The part of A V y outside has the S-norm |B y_last|.
        """
        last = slice(self.size - width, self.size)
        images = self._solve(self._weighted[:, last])
        self._projected[: self.size, last] = 0
        for _ in range(2):
            parts = self.weighted.conj().T @ images
            images = images - self.columns @ parts
            self._projected[: self.size, last] += parts
        self._projected[last, : self.size] = self._projected[: self.size, last].conj().T
        block = self._weigh(images)
        weights, modes = np.linalg.eigh(images.conj().T @ block[1])
        return block, np.sqrt(weights.clip(min=0))[:, None] * modes.conj().T

    def _weigh(self, columns: np.ndarray) -> _Block:
        return columns, self._s @ columns

    def restart(self, eigenvalues: np.ndarray, turns: np.ndarray):
        """Keep the Ritz vectors V ``turns`` alone."""
        n_kept = len(eigenvalues)
        self._columns[:, :n_kept], self._weighted[:, :n_kept] = self.columns @ turns, self.weighted @ turns
        self.size = n_kept
        self._projected[:n_kept, :n_kept] = np.diag(eigenvalues)


def _diagonalize_among(h: csc_array, s: csc_array, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies (n,) and S-orthonormal states (N, n) in the space of ``vectors``; they owe nothing to the accuracy of the map."""
    lower = np.linalg.cholesky(vectors.conj().T @ (s @ vectors))
    vectors = np.linalg.solve(lower, vectors.conj().T).conj().T
    energies, turns = np.linalg.eigh(vectors.conj().T @ (h @ vectors))
    return energies, vectors @ turns
