"""Seconds and bytes that a solver will take: counted operations times rates measured on this machine, once per process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.sparse import csc_array

from ..basis import OrbitalLayout
from ..blocks import BlockMatrix
from .bloch import BlochSum
from .block_lanczos import BLOCK, count_columns
from .dense import TorchLibrary, solve_chunk
from .mkl import require_mkl
from .nearest import solve_nearest
from .resources import MATRICES_VALUES, MATRICES_VECTORS
from .threads import limit_blas_threads
from .window import open_factorizer, solve_around

DENSE_SIZE = 320  # orbitals
LATTICE, PER_SITE, MEASURED_STATES = 9, 8, 10  # sites along both axes, orbitals on each, of the sparse matrix that is measured
# Seconds per N^3 and per k-point that no machine exceeds by much: what is shorter by them is not measured first.
GENEROUS = 2e-9, 1e-5
WORTH_SAYING = 2.0  # seconds
# Atoms whose elimination is counted in seconds.
COUNTED_ATOMS = 4000


@dataclass(frozen=True)
class Estimate:
    """route; seconds in all; memory in bytes at a time."""

    route: str
    seconds: float
    memory: float

    def __str__(self) -> str:
        return f"{self.route}: about {self.seconds:.2g} s and {self.memory / 2**30:.2g} GiB"


def estimate_bands(
    route: str, sums: BlochSum, kpts: np.ndarray, *, vectors: bool, workers: int, chunk: int, blas_threads: int
) -> Estimate | None:
    """Of eigen.solve_bloch at kpts (K, 3) by ``chunk`` of them in each of ``workers``; None if it takes less than two seconds.

    route: "MKL" or "torch" on the processor; nothing is known of graphics cards before they have started.
    """
    n, n_real = sums.n_orbitals, int(sums.is_real_at(kpts).sum())
    if route not in ("MKL", "torch") or (GENEROUS[0] * n**3 + GENEROUS[1]) * len(kpts) / workers < WORTH_SAYING:
        return None
    seconds = len(kpts) * (_time(lambda: sums.build_simplest(kpts[:chunk]), 1) / len(kpts[:chunk]) if n < DENSE_SIZE else 0.0)
    for count, real in ((n_real, True), (len(kpts) - n_real, False)):
        if count:
            size = min(n, DENSE_SIZE)
            measured = measure_chunk(route, size, chunk if size == n else 1, real, vectors)
            seconds += count * measured * (n / size) ** 3
    matrices = MATRICES_VECTORS if vectors else MATRICES_VALUES
    memory = 16.0 * n**2 * (matrices * workers * chunk + (len(kpts) if vectors else 0)) + 8.0 * n * len(kpts)
    estimate = Estimate(route, seconds / (workers * blas_threads), memory)
    return estimate if estimate.seconds > WORTH_SAYING else None


def estimate_dense(sums: BlochSum, n_kpts: int, workers: int) -> Estimate:
    """Of all energies and a window of vectors by nearest.solve_nearest."""
    n = sums.n_orbitals
    per_kpt = measure_dense(sums.real_orbitals is not None) * n**3
    return Estimate("dense", per_kpt * -(-n_kpts // workers), 5 * 16.0 * n**2 * workers)


def estimate_window(sums: BlochSum, n_kpts: int, n_states: int, library: str) -> Estimate:
    """Of a window by window.solve_window; library: as in Machine. Endless for more atoms than are counted."""
    if sums.hamiltonian.layout.n_atoms > COUNTED_ATOMS:
        return Estimate("window", np.inf, np.inf)
    stored, multiplications, elements = count_factor(sums.hamiltonian, sums.overlap)
    per_multiplication, per_step = measure_window(library)
    seconds = n_kpts * (multiplications * per_multiplication + _count_steps(n_states) * (stored + elements) * per_step)
    return Estimate("window", seconds, 24.0 * stored + 32.0 * sums.n_orbitals * count_columns(sums.n_orbitals, n_states))


def count_factor(hamiltonian: BlockMatrix, overlap: BlockMatrix | None) -> tuple[float, float, float]:
    """Numbers stored in the triangular factor of H - E S, multiplications to get it, and numbers in H - E S.

    Atoms are eliminated, those with the least coupled first, as the libraries order them, if less well.
    """
    n_atoms = hamiltonian.layout.n_atoms
    coupled = np.eye(n_atoms, dtype=bool)
    for matrix in (hamiltonian, overlap):
        if matrix is not None:
            coupled[matrix.pairs[:, 0], matrix.pairs[:, 1]] = True
    sizes = (hamiltonian.n_spin * hamiltonian.layout.sizes).astype(float)
    widths = coupled @ sizes
    elements = float(sizes @ widths)
    left = np.ones(n_atoms, dtype=bool)
    stored = multiplications = 0.0
    for _ in range(n_atoms):
        atom = int(np.where(left, widths, np.inf).argmin())
        front = np.nonzero(coupled[atom] & left)[0]
        stored += sizes[atom] * widths[atom]
        multiplications += sizes[atom] * widths[atom] ** 2
        left[atom] = False
        # Those it was coupled to are coupled to each other now.
        coupled[front] |= coupled[atom]
        widths[front] = (coupled[front] & left) @ sizes
    return stored, multiplications, elements


@cache
def measure_dense(real: bool) -> float:
    """Seconds per N^3 of solve_nearest; larger matrices take up to a third less."""
    rng, n = np.random.default_rng(0), DENSE_SIZE
    a = rng.normal(size=(n, n)) if real else rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    h, s = a + a.conj().T, a @ a.conj().T / n + np.eye(n)
    return _time(lambda: solve_nearest(h.copy(), s.copy(), 0.0, 4)) / n**3


@cache
def measure_chunk(route: str, n: int, count: int, real: bool, vectors: bool) -> float:
    """Seconds per k-point of dense.solve_chunk with ``count`` matrices of n x n at a time."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(count, n, n)) + (0 if real else 1j * rng.normal(size=(count, n, n)))
    h, s = a + a.conj().swapaxes(1, 2), a @ a.conj().swapaxes(1, 2) / n + np.eye(n)
    library = require_mkl() if route == "MKL" else TorchLibrary()
    return _time(lambda: solve_chunk(library, h.copy(), s.copy(), vectors, 0.0)) / count


@cache
def measure_window(library: str) -> tuple[float, float]:
    """Seconds per multiplication of the factorization, and of a Lanczos column per number in factor and matrix."""
    (h, s), (stored, multiplications, elements) = _lattice()
    with open_factorizer(library) as (factorize, _):
        factors = factorize(h, s, 0.1)
        seconds = _time(lambda: solve_around(h, s, 0.1, MEASURED_STATES, lambda *_: factors))
        per_multiplication = _time(lambda: factorize(h, s, 0.1)) / multiplications
    return per_multiplication, seconds / (_count_steps(MEASURED_STATES) * (stored + elements))


def _count_steps(n_states: int) -> float:
    """Columns that block_lanczos needs, up to a factor."""
    return n_states + BLOCK


def _lattice() -> tuple[tuple[csc_array, csc_array], tuple[float, float, float]]:
    """A random Hermitian matrix on a square lattice with nearest and next nearest neighbours, with S = 1, and its count_factor."""

    rng = np.random.default_rng(0)
    sites = np.array(list(np.ndindex(LATTICE, LATTICE)))
    near = (np.abs(sites[:, None] - sites[None]) <= 1).all(axis=2)
    layout = OrbitalLayout(((0,) * PER_SITE,) * len(sites))
    pairs = np.argwhere(near)
    values = rng.normal(size=len(pairs) * PER_SITE**2)
    matrix = BlockMatrix(layout, pairs, np.zeros((len(pairs), 3), dtype=int), values).symmetrized()
    return BlochSum(matrix).build_sparse([0.0, 0.0, 0.0]), count_factor(matrix, None)


def _time(call: Callable, repeats: int = 2) -> float:
    """Least seconds of a few calls, after one that does not count, on one core that nobody else uses."""
    seconds = []
    with limit_blas_threads(1):
        call()
        for _ in range(repeats):
            start = time.thread_time()
            call()
            seconds.append(time.thread_time() - start)
    return min(seconds)
