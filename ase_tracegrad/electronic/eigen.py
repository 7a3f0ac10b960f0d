"""solve_bands: H(k) c = E S(k) c for many k-points, dense, in complex128.

S = L L^+ (Cholesky) turns the problem into L^-1 H L^-+. At k-points where S is nearly singular this
amplifies the errors of H by 1 / (smallest eigenvalue of S), and ghost states appear far below the
bands; there, and only there, the modes of S below a threshold are dropped (canonical orthogonalization).
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from tqdm.auto import tqdm

from ..blocks import BlockMatrix
from .bloch import BlochError, BlochSum, check_kpts
from .resources import available_cores, plan_chunks

# Modes of S are dropped below hamiltonian_error / ENERGY_SCALE, so that what the error of H is amplified
# to stays below the energies of interest; never below the rounding of S itself.
ENERGY_SCALE = 4.0  # eV
SMALLEST_THRESHOLD = 1e-10
# An eigenvalue of S below this is no rounding: the matrix is not an overlap.
INDEFINITE_BELOW = -1e-6
BLAS_THREADS_ABOVE = 1000  # orbitals


@dataclass(frozen=True, eq=False)
class SolveReport:
    """What the solver did.

    n_orbitals; threads; seconds; n_real: k-points solved in real arithmetic; threshold on the eigenvalues
    of S; smallest_overlap (K,): estimated smallest eigenvalue of S(k), 1 without overlap; dropped (K,):
    modes of S left out.
    """

    n_orbitals: int
    threads: int
    seconds: float
    n_real: int
    threshold: float
    smallest_overlap: np.ndarray
    dropped: np.ndarray

    def __str__(self) -> str:
        line = (
            f"{len(self.dropped)} k-points of {self.n_orbitals} orbitals in {self.seconds:.2f} s on {self.threads} thread(s); "
            f"smallest eigenvalue of S {self.smallest_overlap.min():.1e}"
        )
        if self.dropped.any():
            line += (
                f"; at {np.count_nonzero(self.dropped)} k-points up to {self.dropped.max()} modes of S below "
                f"{self.threshold:.1e} were dropped"
            )
        return line


@dataclass(frozen=True, eq=False)
class Solution:
    """energies (K, n) eV, ascending; coefficients (K, N, n), columns with c^+ S c = 1, or None; report.

    n = N less the largest number of modes of S dropped at any k-point.
    """

    energies: np.ndarray
    coefficients: np.ndarray | None
    report: SolveReport


def solve_bands(
    hamiltonian: BlockMatrix,
    overlap: BlockMatrix | None,
    kpts,
    *,
    eigenvectors: bool = False,
    hamiltonian_error: float = 0.0,
    memory: float | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> Solution:
    """Solve H(k) c = E S(k) c at kpts (K, 3), fractions of the reciprocal vectors.

    hamiltonian H(R) in eV; overlap S(R), None for orthonormal orbitals. hamiltonian_error: expected
    error of H in eV (a model card gives it), from which the threshold on S follows. memory: bytes the
    solver may use, half of what is free by default; threads: one k-point each, all cores by default.
    Raises BlochError for matrices that are not Hermitian, do not fit together, hold NaN or are no
    overlap; ProblemTooLargeError if the memory does not suffice.
    """
    return solve_bloch(
        BlochSum(hamiltonian, overlap),
        kpts,
        eigenvectors=eigenvectors,
        hamiltonian_error=hamiltonian_error,
        memory=memory,
        threads=threads,
        progress=progress,
    )


def solve_bloch(
    sums: BlochSum,
    kpts,
    *,
    eigenvectors: bool = False,
    hamiltonian_error: float = 0.0,
    memory: float | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> Solution:
    """solve_bands for matrices that were checked and arranged before: saves that work when called again and again."""
    kpts = check_kpts(kpts)
    if not (np.isfinite(hamiltonian_error) and hamiltonian_error >= 0):
        raise ValueError(f"hamiltonian_error is an energy in eV, not negative; found {hamiltonian_error}")
    threshold = max(hamiltonian_error / ENERGY_SCALE, SMALLEST_THRESHOLD)
    # Where 2k is a reciprocal vector all phases are +-1, and H(k) is real if H(R) is.
    real = sums.is_real & (np.abs(2 * kpts - np.rint(2 * kpts)) < 1e-12).all(axis=1)
    workers, size = plan_chunks(sums.n_orbitals, len(kpts), eigenvectors=eigenvectors, memory=memory, threads=threads)
    chunks = [part for group in (np.nonzero(real)[0], np.nonzero(~real)[0]) for part in _split(group, size)]
    start = time.perf_counter()

    def solve(chunk: np.ndarray) -> list["_AtK"]:
        h, s = sums.build(kpts[chunk])
        if real[chunk[0]]:
            h, s = h.real, None if s is None else s.real
        try:
            return _solve_chunk(h, s, eigenvectors, threshold)
        except _IndefiniteOverlap as found:
            raise BlochError(
                f"S(k) at k = {kpts[chunk[found.index]].tolist()} has the eigenvalue {found.eigenvalue:.2e}: it is not positive "
                "definite, so it is no overlap of orbitals. Was S cut, or does it belong to another structure?"
            ) from None

    # Workers that would idle lend their cores to BLAS, which can use them for large matrices only.
    blas_threads = (threads or available_cores()) // workers if sums.n_orbitals > BLAS_THREADS_ABOVE else 1
    results: dict[int, _AtK] = {}
    with tqdm(total=len(kpts), desc="k-points", delay=2, disable=None if progress else True) as bar:
        for chunk, solved in zip(chunks, _in_threads(solve, chunks, workers, blas_threads), strict=True):
            results.update(zip(chunk.tolist(), solved, strict=True))
            bar.update(len(chunk))
    ordered = [results[k] for k in range(len(kpts))]
    return _collect(ordered, sums.n_orbitals, workers, time.perf_counter() - start, int(real.sum()), threshold)


@dataclass(frozen=True, eq=False)
class _AtK:
    energies: np.ndarray
    coefficients: np.ndarray | None
    smallest_overlap: float
    dropped: int = 0


class _IndefiniteOverlap(Exception):
    def __init__(self, index: int, eigenvalue: float):
        self.index, self.eigenvalue = index, eigenvalue


def _solve_chunk(h: np.ndarray, s: np.ndarray | None, vectors: bool, threshold: float) -> list[_AtK]:
    """All k-points of h, s (b, N, N), complex or real."""
    hamiltonian = torch.from_numpy(np.ascontiguousarray(h))
    if s is None:
        energies, coefficients = _diagonalize(hamiltonian, vectors)
        return [_AtK(e, None if coefficients is None else coefficients[b], 1.0) for b, e in enumerate(energies)]
    overlap = torch.from_numpy(np.ascontiguousarray(s))
    factor, info = torch.linalg.cholesky_ex(overlap)
    # The estimate is an upper bound, so it is trusted only well above the threshold.
    smallest = np.where(info.numpy() == 0, _smallest_eigenvalue(factor), -np.inf)
    sound = smallest > 10 * threshold
    results: list[_AtK | None] = [None] * len(h)
    if sound.any():
        keep = torch.from_numpy(np.nonzero(sound)[0])
        lower, h_sound = (factor, hamiltonian) if sound.all() else (factor[keep], hamiltonian[keep])
        half = torch.linalg.solve_triangular(lower, h_sound, upper=False)
        reduced = torch.linalg.solve_triangular(lower, half.mH, upper=False)
        energies, coefficients = _diagonalize(reduced, vectors)
        if coefficients is not None:
            coefficients = torch.linalg.solve_triangular(lower.mH, torch.from_numpy(coefficients), upper=True).numpy()
        for b, k in enumerate(keep.tolist()):
            results[k] = _AtK(energies[b], None if coefficients is None else coefficients[b], float(smallest[k]))
    for k in np.nonzero(~sound)[0]:
        results[k] = _solve_canonical(hamiltonian[k], overlap[k], vectors, threshold, int(k))
    return [r for r in results if r is not None]


def _solve_canonical(h: torch.Tensor, s: torch.Tensor, vectors: bool, threshold: float, index: int) -> _AtK:
    """Diagonalize H in the modes of S above the threshold, X = U s^(-1/2)."""
    eigenvalues, modes = torch.linalg.eigh(s)
    smallest = float(eigenvalues[0])
    if smallest < INDEFINITE_BELOW:
        raise _IndefiniteOverlap(index, smallest)
    keep = eigenvalues > threshold
    basis = modes[:, keep] / eigenvalues[keep].sqrt()
    energies, coefficients = _diagonalize(basis.mH @ h @ basis, vectors)
    if coefficients is not None:
        coefficients = (basis @ torch.from_numpy(coefficients)).numpy()
    return _AtK(energies, coefficients, smallest, int((~keep).sum()))


def _diagonalize(matrices: torch.Tensor, vectors: bool) -> tuple[np.ndarray, np.ndarray | None]:
    if not vectors:
        return torch.linalg.eigvalsh(matrices).numpy(), None
    energies, coefficients = torch.linalg.eigh(matrices)
    return energies.numpy(), coefficients.numpy()


def _smallest_eigenvalue(factor: torch.Tensor, steps: int = 4) -> np.ndarray:
    """Estimate, from above, of the smallest eigenvalue of L L^+ by inverse iteration; factor (b, N, N)."""
    start = np.random.default_rng(0).normal(size=(factor.shape[-1], 1))
    vector = torch.from_numpy(start / np.linalg.norm(start)).to(factor.dtype).expand(len(factor), -1, -1)
    growth = torch.ones(len(factor), 1, 1, dtype=torch.float64)
    for _ in range(steps):
        half = torch.linalg.solve_triangular(factor, vector, upper=False)
        vector = torch.linalg.solve_triangular(factor.mH, half, upper=True)
        growth = torch.linalg.vector_norm(vector, dim=(-2, -1), keepdim=True)
        vector = vector / growth
    return np.nan_to_num(1 / growth[:, 0, 0].numpy(), nan=-np.inf)


def _collect(results: list[_AtK], n_orbitals: int, threads: int, seconds: float, n_real: int, threshold: float) -> Solution:
    n = min(len(r.energies) for r in results)
    smallest, dropped = (np.array([getattr(r, name) for r in results]) for name in ("smallest_overlap", "dropped"))
    report = SolveReport(n_orbitals, threads, seconds, n_real, threshold, smallest, dropped)
    vectors = [r.coefficients[:, :n] for r in results if r.coefficients is not None]
    return Solution(np.stack([r.energies[:n] for r in results]), np.stack(vectors).astype(complex) if vectors else None, report)


def _split(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def _in_threads(work: Callable, items: list, workers: int, blas_threads: int) -> Iterator:
    """Results in order, ``workers`` at a time, each with its own BLAS threads: on small matrices more than one only disturb."""
    with _blas_threads(blas_threads):
        if workers == 1:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(blas_threads,)) as pool:
            try:
                yield from pool.map(work, items)
            finally:
                pool.shutdown(cancel_futures=True)


class _BlasThreads:
    """How many threads BLAS uses is a setting of the process: of solvers that run at the same time in several
    threads of the caller, the first remembers what it was and the last restores it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def __call__(self, count: int):
        with self._lock:
            if self._users == 0:
                self._torch_before = torch.get_num_threads()
                self._limiter = self._pools.limit(limits=count, user_api="blas")
            self._users += 1
        torch.set_num_threads(count)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._limiter.restore_original_limits()
                    torch.set_num_threads(self._torch_before)

    @cached_property
    def _pools(self) -> ThreadpoolController:
        """The BLAS libraries of this process; looking for them takes as long as a hundred small matrices."""
        return ThreadpoolController()


_blas_threads = _BlasThreads()
