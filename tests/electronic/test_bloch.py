import numpy as np
import pytest

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bloch import BlochError, BlochSum, check_kpts
from tests.electronic.lattice_models import random_model


@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize("n_atoms", [2, 30])  # below and above the size where the dense product is used
def test_equal_to_the_plain_sum(kpts, spinor, n_atoms):
    h, s = random_model(((0, 1),) * n_atoms, spinor=spinor)
    h_k, s_k = BlochSum(h, s).build(kpts)
    assert np.abs(h_k - h.bloch(kpts)).max() < 1e-12
    n = s.n_orbitals
    assert np.abs(s_k[:, :n, :n] - s.bloch(kpts)).max() < 1e-13
    if spinor:
        assert np.abs(s_k[:, n:, n:] - s.bloch(kpts)).max() < 1e-13
        assert not s_k[:, :n, n:].any()


def test_derivative_equals_finite_differences(kpts):
    h, s = random_model()
    cell = np.array([[2.0, 0.1, 0], [-0.7, 3.0, 0], [0, 0, 9.0]])
    sums = BlochSum(h, s)
    analytic = sums.derivative(kpts, cell)
    step = 1e-5
    for axis in range(3):
        # k in 1/Angstrom along x, y, z; fractions are k . a_i / (2 pi)
        shift = step * cell[:, axis] / (2 * np.pi)
        plus, minus = sums.build(kpts + shift), sums.build(kpts - shift)
        for matrix in range(2):
            assert np.abs((plus[matrix] - minus[matrix]) / (2 * step) - analytic[matrix][axis]).max() < 1e-7


def test_orthonormal_orbitals_need_no_overlap(kpts):
    h, _ = random_model()
    assert BlochSum(h).build(kpts)[1] is None


def test_different_layouts_are_refused():
    h, _ = random_model()
    _, s = random_model(((0, 1), (0, 1)))
    with pytest.raises(BlochError, match="different orbitals"):
        BlochSum(h, s)


def test_a_matrix_that_is_not_hermitian_is_refused():
    h, s = random_model()
    values = h.values.copy()
    values[-1] += 1e-3
    with pytest.raises(BlochError, match="Hamiltonian is not Hermitian"):
        BlochSum(BlockMatrix(h.layout, h.pairs, h.shifts, values), s)
    with pytest.raises(BlochError, match="overlap is not Hermitian"):
        BlochSum(h, s.cut(np.arange(len(s)) != len(s) - 1))


def test_nan_names_its_block():
    h, s = random_model()
    values = h.values.copy()
    values[h.offsets[3]] = np.nan
    with pytest.raises(BlochError, match=rf"not finite.*\({h.pairs[3, 0]}, {h.pairs[3, 1]}, "):
        BlochSum(BlockMatrix(h.layout, h.pairs, h.shifts, values), s)


@pytest.mark.parametrize("bad", [[], [[0.0, 0.0]], [[0.0, np.nan, 0.0]], [[0.0, 0.0, 1e3]], 0.5])
def test_bad_kpts_are_refused(bad):
    with pytest.raises(ValueError, match="k-point"):
        check_kpts(bad)


@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize("n_atoms", [2, 30])
def test_sparse_matrices_equal_the_dense_ones(kpts, spinor, n_atoms):
    sums = BlochSum(*random_model(((0, 1),) * n_atoms, spinor=spinor))
    for dense, sparse in zip(sums.build(kpts[:1]), sums.build_sparse(kpts[0]), strict=True):
        assert np.abs(sparse.toarray() - dense[0]).max() < 1e-13
    assert (BlochSum(sums.hamiltonian).build_sparse(kpts[0])[1].toarray() == np.eye(sums.n_orbitals)).all()
