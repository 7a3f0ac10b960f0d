"""solve_window: a few states around an energy of a large system, by sparse shift-invert."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array, triu
from scipy.sparse.linalg import splu
from tqdm.auto import tqdm

from ..blocks import BlockMatrix
from .bloch import BlochSum, check_kpts
from .block_lanczos import NoConvergenceError, find_nearest_states
from .mkl import find_mkl, require_mkl
from .pardiso import Pardiso
from .resources import THIS_MACHINE, Machine

# The shift is moved by this much if it hits an eigenvalue, eV.
NUDGE = 1e-4


class WindowError(RuntimeError):
    """The iteration did not find the states asked for."""


# (h, s, center) -> the map of columns x -> (H - shift S)^-1 x, and the shift: the center, or next to it if that is a level.
Factorize = Callable[[csc_array, csc_array, float], tuple[Callable[[np.ndarray], np.ndarray], float]]


@dataclass(frozen=True, eq=False)
class Window:
    """The states next to an energy: energies (K, n) eV, ascending; coefficients (K, N, n) or None; residuals (K,); route.

    residuals: largest |H c - E S c| at each k, eV; coefficients have c^+ S c = 1; route: who factorized.
    """

    energies: np.ndarray
    coefficients: np.ndarray | None
    residuals: np.ndarray
    route: str


def solve_window(
    hamiltonian: BlockMatrix,
    overlap: BlockMatrix | None,
    kpts,
    center: float,
    n_states: int,
    *,
    eigenvectors: bool = False,
    machine: Machine = THIS_MACHINE,
    progress: bool = False,
) -> Window:
    """The ``n_states`` states nearest to ``center`` (eV) at kpts (K, 3), without any dense matrix.

    Block Lanczos iteration on (H - center S)^-1, factorized by PARDISO of MKL where it is installed, else by SuperLU; see
    machine. Pays for large systems, more so for slabs and chains than for bulk; states.solve_states chooses between
    this and solve_bands. Raises BlochError as solve_bands does, ValueError for more states than the matrix has,
    WindowError if the iteration fails, MklNotInstalledError.
    """
    sums = BlochSum(hamiltonian, overlap)
    return solve_window_bloch(sums, kpts, center, n_states, eigenvectors=eigenvectors, machine=machine, progress=progress)


def solve_window_bloch(
    sums: BlochSum,
    kpts,
    center: float,
    n_states: int,
    *,
    eigenvectors: bool = False,
    machine: Machine = THIS_MACHINE,
    progress: bool = False,
) -> Window:
    """solve_window for matrices that were checked and arranged before."""
    kpts = check_kpts(kpts)
    check_window(sums.n_orbitals, center, n_states)
    energies, coefficients, residuals = [], [], []
    with open_factorizer(machine.library) as (factorize, route):
        for k in tqdm(kpts, desc="k-points", delay=2, disable=None if progress else True):
            h, s = sums.build_sparse(k)
            e, c = solve_around(h, s, center, n_states, factorize)
            energies.append(e)
            residuals.append(float(np.abs(h @ c - (s @ c) * e).max()))
            if eigenvectors:
                coefficients.append(c)
    return Window(np.array(energies), np.array(coefficients) if eigenvectors else None, np.array(residuals), route)


def check_window(n_orbitals: int, center: float, n_states: int):
    """ValueError for a window that no iteration can find."""
    if not np.isfinite(center):
        raise ValueError(f"the center of the window is an energy in eV, found {center}")
    if not 0 < n_states < n_orbitals - 1:
        raise ValueError(
            f"a window holds between 1 and {n_orbitals - 2} of {n_orbitals} states, found {n_states}; solve_bands gives all of them"
        )


def solve_around(h: csc_array, s: csc_array, center: float, n_states: int, factorize: Factorize):
    """Energies (n,), ascending, and coefficients (N, n) at one k-point."""
    solve, shift = factorize(h, s, center)
    try:
        energies, vectors = find_nearest_states(h, s, solve, shift, n_states)
    except NoConvergenceError as error:
        raise WindowError(f"{error}: ask for fewer, or for all bands") from None
    order = np.argsort(energies)
    return energies[order], vectors[:, order]


@contextmanager
def open_factorizer(library: str) -> Iterator[tuple[Factorize, str]]:
    """How to factorize, and its name; library: as in Machine. Leaving frees the memory that is MKL's."""
    mkl = require_mkl() if library == "mkl" else find_mkl() if library == "auto" else None
    if mkl is None:
        yield _factorize, "SuperLU"
        return
    with _ByPardiso(mkl) as pardiso:
        yield pardiso.shifted, "PARDISO"


def _factorize(h: csc_array, s: csc_array, center: float) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """By SuperLU."""
    for shift in (center, center + NUDGE):
        try:
            # The pattern is symmetric, so a symmetric ordering with weak pivoting keeps the factors small.
            options = {"SymmetricMode": True}
            factor = splu((h - shift * s).tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options=options)
            return factor.solve, shift
        except RuntimeError as error:
            if "singular" not in str(error):
                raise
    raise WindowError(f"H - {center} eV S is singular: some orbital has neither energy nor norm")


class _ByPardiso(Pardiso):
    """By PARDISO, which perturbs small pivots: a center on an eigenvalue does no harm."""

    def shifted(self, h: csc_array, s: csc_array, center: float) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
        """The inverse of H - center S, and center."""
        self.factorize(_shifted_upper(h, s, center))
        return self.solve, center


def _shifted_upper(h: csc_array, s: csc_array, center: float) -> csr_array:
    """Upper triangle of H - center S. Zeros stay stored, so that its pattern is the same at all k and holds the diagonal."""
    n = h.shape[0]
    h, s, diagonal = triu(h, format="coo"), triu(s, format="coo"), np.arange(n)
    values = np.concatenate([h.data, -center * s.data, np.zeros(n)]).astype(complex)
    rows, columns = (np.concatenate([h.coords[axis], s.coords[axis], diagonal]) for axis in range(2))
    matrix = coo_array((values, (rows, columns)), shape=(n, n)).tocsr()
    matrix.sort_indices()
    return matrix
