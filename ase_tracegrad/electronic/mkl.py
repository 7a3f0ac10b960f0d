"""Mkl: the dense solvers of Intel's library (PyPI `mkl`, the extra [mkl]) by ctypes, where it is installed.

LAPACK counts in columns, numpy in rows: it is handed the transposed, that is the complex conjugate, of each Hermitian
matrix, without a copy. Its energies are the same, its vectors are conjugated back.
"""

import ctypes
import importlib.metadata
import logging
from functools import cache
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

# mkl_service.h: 32-bit integers; one thread, since k-points are spread over the cores. MKL's OpenMP threads do not go
# together with those of torch in one process: with two of them PARDISO (2026.2) returned errors at random.
INTERFACE_LP64, THREADING_SEQUENTIAL = 0, 1
INVERSE_STEPS = 4


class MklNotInstalledError(ImportError):
    """MKL was asked for and is not there."""


class MklError(RuntimeError):
    """A routine of MKL failed; the message gives its name and its return code."""


@cache
def find_mkl() -> "Mkl | None":
    """MKL, loaded once, or None where the package is not installed or does not load; the latter is logged."""
    try:
        files = importlib.metadata.distribution("mkl").files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())).resolve() for file in files if file.name.startswith(("libmkl_rt.", "mkl_rt."))]
    try:
        return Mkl(ctypes.CDLL(str(next(path for path in paths if path.is_file()))))
    except (OSError, StopIteration) as error:
        logger.warning("the package mkl is installed, but its library does not load: %s", error or "libmkl_rt is missing")
        return None


def require_mkl() -> "Mkl":
    """MKL, or MklNotInstalledError with what to do."""
    mkl = find_mkl()
    if mkl is None:
        raise MklNotInstalledError('MKL is not installed: pip install "ase_tracegrad[mkl]", or choose another library')
    return mkl


class Mkl:
    """Routines of one loaded library. Arrays are C-ordered, float64 or complex128, and overwritten where this is said."""

    name = "mkl"

    def __init__(self, library: ctypes.CDLL):
        self._library = library
        library.MKL_Set_Interface_Layer(INTERFACE_LP64)
        library.MKL_Set_Threading_Layer(THREADING_SEQUENTIAL)

    def factorize(self, overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cholesky factors of overlap (b, N, N), and estimates from above of its smallest eigenvalues (b,): -inf without factor."""
        factors, smallest = overlap.copy(), np.full(len(overlap), -np.inf)
        for b, factor in enumerate(factors):
            n = len(factor)
            if self._call("potrf", factor, b"L", n, factor, n, failing=True) == 0:
                smallest[b] = self._smallest_eigenvalue(factor)
        return factors, smallest

    def solve(self, hamiltonian: np.ndarray, factor: np.ndarray | None, vectors: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Energies (b, N) and coefficients (b, N, N) or None; hamiltonian (b, N, N) is overwritten. factor None: S = 1."""
        energies = np.empty(hamiltonian.shape[:2])
        for b, h in enumerate(hamiltonian):
            if factor is not None:
                self.reduce(h, factor[b])
            self._diagonalize(h, energies[b], vectors)
            if vectors and factor is not None:
                self.expand(factor[b], h)
        return energies, hamiltonian.conj().swapaxes(-1, -2) if vectors else None

    def reduce(self, hamiltonian: np.ndarray, factor: np.ndarray):
        """L^-1 H L^-+ of one k-point, in place; one triangle alone is meaningful."""
        n = len(hamiltonian)
        self._call("hegst", hamiltonian, 1, b"L", n, hamiltonian, n, factor, n)

    def expand(self, factor: np.ndarray, vectors: np.ndarray):
        """L^-+ c for the vectors in the rows of ``vectors`` (n, N), in place."""
        count, n = vectors.shape
        self._call("trtrs", vectors, b"L", _adjoint(vectors), b"N", n, count, factor, n, vectors, n)

    def call_pardiso(self, handle, numbers: tuple, arrays: tuple, settings, right, solution) -> int:
        """One phase of PARDISO for right sides (b, N) or one (N,); the return code. pardiso.Pardiso knows the arguments."""
        info, none = ctypes.c_int32(0), ctypes.c_void_p(None)
        sides = [none if side is None else side for side in (right, solution)]
        n_sides = 1 if right is None or right.ndim == 1 else len(right)
        arguments = [handle, *numbers, *arrays, none, n_sides, settings, 0, *sides]
        self._library.pardiso(*[_pass(argument) for argument in arguments], ctypes.byref(info))
        return info.value

    def _diagonalize(self, matrix: np.ndarray, energies: np.ndarray, vectors: bool):
        """heev for values, heevd (divide and conquer) for vectors, which overwrite the matrix, one per row."""
        n = len(matrix)
        real = not np.iscomplexobj(matrix)
        if not vectors:
            real_work: list = [] if real else [np.empty(3 * n)]
            # Asked for the size that is best first: MKL's reduction to tridiagonal form is slower with less.
            best = np.empty(1, dtype=matrix.dtype)
            self._call("heev", matrix, b"N", b"L", n, matrix, n, energies, best, -1, *real_work)
            work = np.empty(int(best[0].real), dtype=matrix.dtype)
            self._call("heev", matrix, b"N", b"L", n, matrix, n, energies, work, work.size, *real_work)
            return
        work = np.empty(1 + 6 * n + 2 * n * n if real else 2 * n + n * n, dtype=matrix.dtype)
        real_work = [] if real else [np.empty(1 + 5 * n + 2 * n * n), 1 + 5 * n + 2 * n * n]
        whole = np.empty(3 + 5 * n, dtype=np.int32)
        self._call("heevd", matrix, b"V", b"L", n, matrix, n, energies, work, work.size, *real_work, whole, whole.size)

    def _smallest_eigenvalue(self, factor: np.ndarray) -> float:
        """Of L L^+, from above, by inverse iteration."""
        n = len(factor)
        vector = np.random.default_rng(0).normal(size=n).astype(factor.dtype)
        growth = np.linalg.norm(vector)
        for _ in range(INVERSE_STEPS):
            vector /= growth
            self._call("potrs", factor, b"L", n, 1, factor, n, vector, n)
            growth = np.linalg.norm(vector)
        return float(1 / growth)

    def _call(self, routine: str, matrix: np.ndarray, *arguments, failing: bool = False) -> int:
        """Run a LAPACK routine of the matrix's number type; failing: a positive return code is an answer, not an error."""
        name = ("z" if np.iscomplexobj(matrix) else "d") + routine
        if name[0] == "d" and routine in REAL_NAMES:
            name = "d" + REAL_NAMES[routine]
        info = ctypes.c_int32(0)
        getattr(self._library, name + "_")(*[_pass(argument) for argument in arguments], ctypes.byref(info))
        if info.value < 0 or (info.value > 0 and not failing):
            raise MklError(f"{name} of MKL returned {info.value} for a matrix of {matrix.shape[-1]} orbitals; is it finite?")
        return info.value


# Complex Hermitian and real symmetric matrices have routines of different names.
REAL_NAMES = {"hegst": "sygst", "heev": "syev", "heevd": "syevd"}


def _adjoint(matrix: np.ndarray) -> bytes:
    return b"C" if np.iscomplexobj(matrix) else b"T"


def _pass(argument):
    """As Fortran takes it: by reference."""
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return argument if isinstance(argument, bytes | ctypes.c_void_p) else ctypes.byref(ctypes.c_int32(argument))
