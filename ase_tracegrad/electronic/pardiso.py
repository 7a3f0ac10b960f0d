"""Pardiso: factors of sparse Hermitian indefinite matrices by MKL, the symbolic phase shared by matrices of one pattern."""

from typing import Self

import numpy as np
from scipy.sparse import csr_array

from .mkl import Mkl, MklError

# oneMKL reference, pardiso: matrix type and phases.
HERMITIAN_INDEFINITE = -4
ANALYSE, FACTORIZE, SOLVE, RELEASE = 11, 22, 33, -1
ERRORS = {
    -1: "inconsistent input",
    -2: "not enough memory: ask for fewer k-points at a time, or use a machine with more",
    -3: "reordering failed",
    -4: "a zero pivot: the matrix is singular",
}


class Pardiso:
    """A with statement releases the memory, which belongs to MKL."""

    def __init__(self, mkl: Mkl):
        self._mkl = mkl
        self._handle = np.zeros(64, dtype=np.int64)
        self._matrix: csr_array | None = None
        self._settings = np.zeros(64, dtype=np.int32)
        # In the reference's count from one: own settings; nested dissection; the solution is refined only where a pivot
        # was perturbed, by 1e-10; no scaling or matching, which would tie the symbolic phase to the values;
        # Bunch-Kaufman pivots; arrays count from zero.
        for place, value in {1: 1, 2: 2, 10: 10, 21: 1, 35: 1}.items():
            self._settings[place - 1] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        if self._matrix is not None:
            self._call(RELEASE, self._matrix)

    @property
    def n_factor(self) -> int:
        """Numbers stored in the factor."""
        return int(self._settings[17])

    def factorize(self, upper: csr_array):
        """Factors of the Hermitian matrix whose upper triangle, with all of its diagonal stored, is ``upper`` (complex128)."""
        # PARDISO counts in 32 bits here.
        indices, indptr = (numbers.astype(np.int32, copy=False) for numbers in (upper.indices, upper.indptr))
        upper = csr_array((upper.data, indices, indptr), shape=upper.shape)
        before, self._matrix = self._matrix, upper
        same = before is not None and all(np.array_equal(getattr(before, f), getattr(upper, f)) for f in ("indptr", "indices"))
        if not same:
            self._call(ANALYSE, upper)
        self._call(FACTORIZE, upper)

    def solve(self, right: np.ndarray) -> np.ndarray:
        """A^-1 right for columns (N, b) or one vector (N,), A the matrix factorized last."""
        if self._matrix is None:
            raise MklError("nothing was factorized yet: call factorize first")
        sides = np.array(right.T, dtype=complex, order="C")  # one side after the other
        solution = np.empty_like(sides)
        self._call(SOLVE, self._matrix, sides, solution)
        return solution.T

    def _call(self, phase: int, matrix: csr_array, right: np.ndarray | None = None, solution: np.ndarray | None = None):
        arrays = (matrix.data, matrix.indptr, matrix.indices)
        numbers = (1, 1, HERMITIAN_INDEFINITE, phase, matrix.shape[0])  # factors kept, the one used
        error = self._mkl.call_pardiso(self._handle, numbers, arrays, self._settings, right, solution)
        if error:
            raise MklError(f"PARDISO, phase {phase}, returned {error}: {ERRORS.get(error, 'see the reference of oneMKL')}")
