"""solve_states: a few states around an energy, dense or sparse, whichever is estimated to be faster here."""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from ..blocks import BlockMatrix
from .bloch import BlochSum, check_kpts
from .estimate import Estimate, estimate_dense, estimate_window
from .nearest import solve_nearest
from .resources import THIS_MACHINE, Machine, ProblemTooLargeError
from .threads import run_in_threads
from .window import Window, check_window, solve_window_bloch

logger = logging.getLogger(__name__)

Method = Literal["auto", "dense", "window"]
# Up to here the dense solver takes less time than to count the operations of the other.
DENSE_UP_TO = 400  # orbitals


@dataclass(frozen=True, eq=False)
class States(Window):
    """A Window, with the estimates that it was chosen by; the chosen one first."""

    estimates: tuple[Estimate, ...] = ()


def solve_states(
    hamiltonian: BlockMatrix,
    overlap: BlockMatrix | None,
    kpts,
    center: float,
    n_states: int,
    *,
    method: Method = "auto",
    machine: Machine = THIS_MACHINE,
    progress: bool = False,
) -> States:
    """The ``n_states`` states nearest to ``center`` (eV) at kpts (K, 3), with coefficients, on the processor.

    method: "dense" diagonalizes all of H(k), "window" is solve_window, "auto" takes what fits into the memory and is
    estimated to be faster; estimates are logged before anything starts. No modes of S are dropped, as solve_bands does
    where S is nearly singular: there a window may hold ghost states. Raises ProblemTooLargeError if nothing
    fits, ValueError for a window that does not exist, and what solve_bands and solve_window raise.
    """
    sums, kpts = BlochSum(hamiltonian, overlap), check_kpts(kpts)
    check_window(sums.n_orbitals, center, n_states)
    if method not in ("auto", "dense", "window"):
        raise ValueError(f"expected the method auto, dense or window, found {method!r}")
    estimates = _estimate(sums, len(kpts), n_states, method, machine)
    for estimate in estimates:
        logger.info("%d states at %d k-points of %d orbitals, %s", n_states, len(kpts), sums.n_orbitals, estimate)
    if estimates[0].memory > machine.budget:
        raise ProblemTooLargeError(
            f"{n_states} states of {sums.n_orbitals} orbitals need {estimates[0].memory / 2**30:.2f} GiB, "
            f"{machine.budget / 2**30:.2f} GiB may be used: choose method='window', ask for fewer states, or raise memory="
        )
    if estimates[0].route == "window":
        found = solve_window_bloch(sums, kpts, center, n_states, eigenvectors=True, machine=machine, progress=progress)
        return States(found.energies, found.coefficients, found.residuals, found.route, estimates)
    energies, coefficients, residuals = _solve_dense(sums, kpts, center, n_states, machine, progress)
    return States(energies, coefficients, residuals, "dense", estimates)


def _estimate(sums: BlochSum, n_kpts: int, n_states: int, method: Method, machine: Machine) -> tuple[Estimate, ...]:
    """The estimates that are needed, the best first: what fits, then what is faster."""
    dense = [] if method == "window" else [estimate_dense(sums, n_kpts, _count_workers(sums, n_kpts, machine))]
    if method == "dense" or (method == "auto" and sums.n_orbitals <= DENSE_UP_TO):
        return tuple(dense)
    both = [*dense, estimate_window(sums, n_kpts, n_states, machine.library)]
    return tuple(sorted(both, key=lambda estimate: (estimate.memory > machine.budget, estimate.seconds)))


def _count_workers(sums: BlochSum, n_kpts: int, machine: Machine) -> int:
    fitting = int(machine.budget // (5 * 16 * sums.n_orbitals**2))
    return max(1, min(machine.cores, n_kpts, fitting))


def _solve_dense(sums: BlochSum, kpts: np.ndarray, center: float, n_states: int, machine: Machine, progress: bool):
    """Energies (K, n), coefficients (K, N, n), residuals (K,)."""

    def solve(kpt: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        h, s = sums.build_simplest(kpt)
        energies, c = solve_nearest(h[0].copy(), None if s is None else s[0].copy(), center, n_states)
        weighted = c if s is None else s[0] @ c
        return energies, c, float(np.abs(h[0] @ c - weighted * energies).max())

    workers = _count_workers(sums, len(kpts), machine)
    with tqdm(total=len(kpts), desc="k-points", delay=2, disable=None if progress else True) as bar:
        found = []
        for result in run_in_threads(solve, list(kpts), workers, 1):
            found.append(result)
            bar.update()
    energies, coefficients, residuals = (np.array(part) for part in zip(*found, strict=True))
    return energies, coefficients.astype(complex), residuals
