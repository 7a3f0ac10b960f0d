"""solve_bands: H(k) c = E S(k) c for many k-points, all states, in float64 and complex128."""

import logging
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm.auto import tqdm

from ..blocks import BlockMatrix
from .bloch import BlochError, BlochSum, check_kpts
from .dense import DenseLibrary, IndefiniteOverlap, StatesAtK, TorchLibrary, VerifiedLibrary, solve_chunk
from .estimate import estimate_bands
from .inversion import Inversion
from .mkl import Mkl, find_mkl, require_mkl
from .resources import THIS_MACHINE, Machine, plan_chunks
from .threads import run_in_threads

logger = logging.getLogger(__name__)

BLAS_THREADS_ABOVE = 1000  # orbitals
# Below, torch's loop over a batch costs less than one call of MKL after the other.
MKL_ABOVE = 64  # orbitals
# MKL has one thread here; torch gains more than MKL's advantage where one matrix has more cores than this.
MKL_UP_TO_CORES = 2


@dataclass(frozen=True, eq=False)
class SolveReport:
    """What the solver did.

    route: the library, where it ran, whether inversion made all real; n_orbitals; threads; seconds; n_real: k-points
    solved in real arithmetic; threshold on the eigenvalues of S; smallest_overlap (K,): estimated smallest eigenvalue
    of S(k), 1 without overlap; dropped (K,): modes of S left out; redone: k-points that a graphics card solved wrongly.
    """

    route: str
    n_orbitals: int
    threads: int
    seconds: float
    n_real: int
    threshold: float
    smallest_overlap: np.ndarray
    dropped: np.ndarray
    redone: int = 0

    def __str__(self) -> str:
        line = (
            f"{len(self.dropped)} k-points of {self.n_orbitals} orbitals in {self.seconds:.2f} s on {self.threads} thread(s) "
            f"by {self.route}, {self.n_real} of them real; smallest eigenvalue of S {self.smallest_overlap.min():.1e}"
        )
        if self.dropped.any():
            line += (
                f"; at {np.count_nonzero(self.dropped)} k-points up to {self.dropped.max()} modes of S below "
                f"{self.threshold:.1e} were dropped"
            )
        if self.redone:
            line += f"; {self.redone} were solved wrongly by the graphics card and again by the processor"
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
    inversion: Inversion | None = None,
    machine: Machine = THIS_MACHINE,
    progress: bool = False,
) -> Solution:
    """Solve H(k) c = E S(k) c at kpts (K, 3), fractions of the reciprocal vectors.

    hamiltonian H(R) in eV; overlap S(R), None for orthonormal orbitals. hamiltonian_error: expected
    error of H in eV (a model card gives it), from which the threshold on S follows. inversion:
    of the structure, by inversion.find_inversion; if H and S obey it all is solved in real arithmetic. machine: memory, threads,
    library and device. Raises BlochError for matrices that are not Hermitian, do not fit together, hold NaN
    or are no overlap; ProblemTooLargeError if the memory does not suffice; MklNotInstalledError.
    """
    sums = BlochSum(hamiltonian, overlap, hamiltonian_error).with_inversion(inversion)
    return solve_bloch(sums, kpts, eigenvectors=eigenvectors, machine=machine, progress=progress)


def solve_bloch(
    sums: BlochSum,
    kpts,
    *,
    eigenvectors: bool = False,
    machine: Machine = THIS_MACHINE,
    progress: bool = False,
) -> Solution:
    """solve_bands for matrices that were checked and arranged before: saves that work when called again and again."""
    kpts = check_kpts(kpts)
    real = sums.is_real_at(kpts)
    card = torch.cuda.mem_get_info(machine.device)[0] if torch.device(machine.device).type == "cuda" else None
    workers, size = plan_chunks(sums.n_orbitals, len(kpts), machine, eigenvectors=eigenvectors, card_memory=card)
    # Workers that would idle lend their cores to BLAS, which can use them for large matrices only.
    blas_threads = machine.cores // workers if sums.n_orbitals > BLAS_THREADS_ABOVE else 1
    library = choose_library(sums.n_orbitals, machine, blas_threads)
    route = _name_route(library)
    estimate = estimate_bands(
        route, sums, kpts, vectors=eigenvectors, workers=workers, chunk=size, blas_threads=1 if route == "MKL" else blas_threads
    )
    if estimate is not None:
        logger.info("%d k-points of %d orbitals, %s", len(kpts), sums.n_orbitals, estimate)
    chunks = [part for group in (np.nonzero(real)[0], np.nonzero(~real)[0]) for part in _split(group, size)]
    start = time.perf_counter()

    def solve(chunk: np.ndarray) -> list[StatesAtK]:
        return _solve_at(sums, kpts[chunk], library, eigenvectors)

    results: dict[int, StatesAtK] = {}
    about = "k-points" if estimate is None else f"k-points, about {estimate.seconds:.0f} s"
    with tqdm(total=len(kpts), desc=about, delay=2, disable=None if progress else True) as bar:
        for chunk, solved in zip(chunks, run_in_threads(solve, chunks, workers, blas_threads), strict=True):
            results.update(zip(chunk.tolist(), solved, strict=True))
            bar.update(len(chunk))
    ordered = [results[k] for k in range(len(kpts))]
    report = SolveReport(
        route=route + (", inversion" if sums.real_orbitals is not None else ""),
        n_orbitals=sums.n_orbitals,
        threads=workers * (1 if isinstance(library, Mkl) else blas_threads),
        seconds=time.perf_counter() - start,
        n_real=int(real.sum()),
        threshold=sums.threshold,
        smallest_overlap=np.array([r.smallest_overlap for r in ordered]),
        dropped=np.array([r.dropped for r in ordered]),
        redone=library.redone if isinstance(library, VerifiedLibrary) else 0,
    )
    return _collect(ordered, report)


def _solve_at(sums: BlochSum, kpts: np.ndarray, library: DenseLibrary, vectors: bool) -> list[StatesAtK]:
    """The states at kpts, where H(k) is real at all or at none."""
    h, s = sums.build_simplest(kpts)
    try:
        states = solve_chunk(library, h, s, vectors, sums.threshold)
    except IndefiniteOverlap as found:
        raise BlochError(
            f"S(k) at k = {kpts[found.index].tolist()} has the eigenvalue {found.eigenvalue:.2e}: it is not positive "
            "definite, so it is no overlap of orbitals. Was S cut, or does it belong to another structure?"
        ) from None
    orbitals = sums.real_orbitals
    if orbitals is None:
        return states
    return [
        at_k if at_k.coefficients is None else replace(at_k, coefficients=orbitals.restore(at_k.coefficients[None], k[None])[0])
        for at_k, k in zip(states, kpts, strict=True)
    ]


def choose_library(n_orbitals: int, machine: Machine, blas_threads: int = 1) -> DenseLibrary:
    """The dense solver for matrices of this size with so many cores for each.

    Raises MklNotInstalledError if MKL is insisted on and missing.
    """
    if torch.device(machine.device).type != "cpu":
        return VerifiedLibrary(machine.device)
    if machine.library == "mkl":
        return require_mkl()
    mkl = find_mkl() if machine.library == "auto" and n_orbitals > MKL_ABOVE and blas_threads <= MKL_UP_TO_CORES else None
    return TorchLibrary() if mkl is None else mkl


def _name_route(library: DenseLibrary) -> str:
    if isinstance(library, Mkl):
        return "MKL"
    return f"torch on {library.device}" if isinstance(library, VerifiedLibrary) else "torch"


def _collect(results: list[StatesAtK], report: SolveReport) -> Solution:
    n = min(len(r.energies) for r in results)
    vectors = [r.coefficients[:, :n] for r in results if r.coefficients is not None]
    return Solution(np.stack([r.energies[:n] for r in results]), np.stack(vectors).astype(complex) if vectors else None, report)


def _split(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]
